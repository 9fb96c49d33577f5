package balance

import (
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/nodeserver/nodeserver/server/forward"
	"github.com/nodeserver/nodeserver/server/internal/lively"
)

// Redirect makes Run send users who come to the listener to HTTPS. Run closes it. To be called
// before Run.
func (b *Balancer) Redirect(ln net.Listener) { b.redirect = ln }

// usersServer is what serves users, with HTTP/2 where it speaks TLS.
func (b *Balancer) usersServer() *http.Server {
	srv := lively.Server(b.cfg.HTTP, b, slog.NewLogLogger(b.log.Handler(), slog.LevelDebug))
	srv.TLSConfig = b.cfg.TLS
	return srv
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
