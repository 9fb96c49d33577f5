package balance

import (
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/nodeserver/nodeserver/channel/listen"
	"github.com/nodeserver/nodeserver/server/forward"
	"github.com/nodeserver/nodeserver/server/internal/lively"
	"github.com/nodeserver/nodeserver/server/internal/proxied"
)

// Redirect makes Run send users who come to the listener to HTTPS. Run closes it. To be called
// before Run.
func (b *Balancer) Redirect(ln net.Listener) { b.redirect = ln }

// Connections of HTTP/2 on which nothing comes for so long are asked for a sign of life.
const (
	pingAfter   = 30 * time.Second
	pingTimeout = 15 * time.Second
)

// usersServer is what serves users, with HTTP/2 where it speaks TLS.
func (b *Balancer) usersServer() *http.Server {
	c := b.cfg.HTTP
	return &http.Server{
		Handler: lively.Bodies(c.StallTimeout, b), TLSConfig: b.cfg.TLS,
		HTTP2:             &http.HTTP2Config{WriteByteTimeout: c.StallTimeout, SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		ReadHeaderTimeout: c.ReadHeaderTimeout, IdleTimeout: c.IdleTimeout, MaxHeaderBytes: c.MaxHeaderBytes,
		ErrorLog: slog.NewLogLogger(b.log.Handler(), slog.LevelDebug),
	}
}

func (b *Balancer) serveUsers(srv *http.Server, bounded *listen.Listener) error {
	ln := proxied.New(bounded, b.cfg.HTTP, b.cfg.Trust, b.log)
	if srv.TLSConfig != nil {
		return srv.ServeTLS(ln, "", "")
	}
	return srv.Serve(ln)
}

// plainServer sends users who speak HTTP to the same host and path at the port of secure.
func (b *Balancer) plainServer(like *http.Server, secure net.Addr) *http.Server {
	_, port, _ := net.SplitHostPort(secure.String()) // of a listener
	send := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to := *r.URL
		to.Scheme, to.User = "https", nil
		if to.Host = forward.Hostname(r.Host); to.Host == "" || !strings.HasPrefix(to.Path, "/") {
			http.Error(w, "400: the request names no host to be sent to.", http.StatusBadRequest)
			return
		}
		if port != "443" {
			to.Host += ":" + port
		}
		w.Header().Set("Location", to.String())
		w.WriteHeader(http.StatusPermanentRedirect)
	})
	return &http.Server{
		Handler:           send,
		ReadHeaderTimeout: like.ReadHeaderTimeout,
		IdleTimeout:       like.IdleTimeout,
		MaxHeaderBytes:    like.MaxHeaderBytes,
		ErrorLog:          like.ErrorLog,
	}
}
