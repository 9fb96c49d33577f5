package balance

import (
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/nodeserver/nodeserver/server/forward"
	"github.com/nodeserver/nodeserver/server/internal/lively"
)

// Redirect makes Run send users who come to the listener to HTTPS. Run closes it. To be called
// before Run.
func (b *Balancer) Redirect(ln net.Listener) { b.redirect = ln }

// Tracer makes traces of what users ask for; package tracing has one. Safe for concurrent use.
type Tracer interface {
	// Handler makes a span of each request that h serves. Trusted says whether what the request's
	// sender says of the trace is believed.
	Handler(h http.Handler, trusted func(*http.Request) bool) http.Handler
	// Sent notes which node has answered the request, and how often it was sent on.
	Sent(r *http.Request, node string, retries int)
	// Stop sends what is left, and ends the tracer.
	Stop() error
}

// Trace makes Run make traces, and stop the tracer. To be called before Run.
func (b *Balancer) Trace(t Tracer) { b.tracer = t }

// usersServer is what serves users, with HTTP/2 where it speaks TLS.
func (b *Balancer) usersServer() *http.Server {
	var h http.Handler = b
	if b.tracer != nil {
		h = b.tracer.Handler(h, b.cfg.Trust.Of)
	}
	srv := lively.Server(b.cfg.HTTP, h, slog.NewLogLogger(b.log.Handler(), slog.LevelDebug))
	srv.TLSConfig = b.cfg.TLS.Clone() // net/http adds to it; nil stays nil
	return srv
}

// plainServer sends users who speak HTTP to the same host and path at the port of secure, or Config.RedirectPort.
func (b *Balancer) plainServer(like *http.Server, secure net.Addr) *http.Server {
	_, port, _ := net.SplitHostPort(secure.String()) // of a listener
	if b.cfg.RedirectPort != 0 {
		port = strconv.Itoa(b.cfg.RedirectPort)
	}
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
