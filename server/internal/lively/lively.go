// Package lively makes servers of users that nobody can hold up: what stands still is ended.
package lively

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/server/config"
)

// Connections of HTTP/2 on which nothing comes for so long are asked for a sign of life.
const (
	pingAfter   = 30 * time.Second
	pingTimeout = 15 * time.Second
)

// Server is a server of users with the bounds of the conf.
func Server(c config.HTTP, h http.Handler, errors *log.Logger) *http.Server {
	return &http.Server{
		Handler:           Bodies(c.StallTimeout, h),
		HTTP2:             &http.HTTP2Config{WriteByteTimeout: c.StallTimeout, SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		ReadHeaderTimeout: c.ReadHeaderTimeout,
		IdleTimeout:       c.IdleTimeout,
		MaxHeaderBytes:    c.MaxHeaderBytes,
		ErrorLog:          errors,
	}
}

// Serve is HTTPS where the server has a TLSConfig, else HTTP.
func Serve(s *http.Server, l net.Listener) error {
	if s.TLSConfig != nil {
		return s.ServeTLS(l, "", "")
	}
	return s.Serve(l)
}

const minRate = 500 // bytes a second that a request's body must bring, in the long run

// Bodies wants a request's body to go on coming: it gets the stall time, and
// then as long as it brings minRate; else reads of it fail with os.ErrDeadlineExceeded. Requests
// without a body cost nothing. A stall time of 0 is no limit.
func Bodies(stall time.Duration, next http.Handler) http.Handler {
	if stall <= 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0 {
			r.Body = &body{under: r.Body, control: http.NewResponseController(w), stall: stall}
		}
		next.ServeHTTP(w, r)
	})
}

// body is a request's body for which the handler waits no longer than it may in all:
// the stall time, and more with each byte that has come. What the handler does between two
// reads takes nothing from that.
type body struct {
	under   io.ReadCloser
	control *http.ResponseController
	stall   time.Duration

	mu   sync.Mutex
	left time.Duration // to wait, beyond the stall time
	over bool          // has been read to its end, or closed
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	began := time.Now()
	b.mu.Lock()
	if !b.over {
		_ = b.control.SetReadDeadline(began.Add(b.stall + b.left)) // fails where the connection is gone
	}
	b.mu.Unlock()
	n, err := b.under.Read(p)
	b.mu.Lock()
	b.left += time.Duration(n)*time.Second/minRate - time.Since(began)
	b.mu.Unlock()
	if errors.Is(err, io.EOF) {
		b.release()
	}
	return n, err
}

// Close implements io.Closer. It reads what is left of a short body.
func (b *body) Close() error {
	err := b.under.Close()
	b.release()
	return err
}

// release takes the deadline away, since from now on the connection waits for its next
// request, or for the client to go. Where the body was not read to its end, the deadline
// stays: net/http reads on, and sets another one for the next request.
func (b *body) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.over {
		b.over = true
		_ = b.control.SetReadDeadline(time.Time{}) // fails where the connection is gone
	}
}
