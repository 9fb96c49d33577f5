// Package drain lets an HTTP server give its users away, for a while or for good, without
// losing requests of those who did not know. A client that sends a request on a connection that the
// server closes at that moment gets no answer, and must not send it again unless it is idempotent (RFC 9110 section
// 9.2.2). So a server that is to stop first says so, and closes nothing until that has
// been heard: it answers its probes with 503, each answer of HTTP/1 ends its connection
// (RFC 9112 section 9.6), and it waits. HTTP/2 has GOAWAY for that, which
// http.Server.Shutdown sends. An operator may have the same said while the server goes on.
package drain

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/channel/listen"
)

// probing is for how long after a probe more of them are expected: balancers ask every
// few seconds.
const probing = 15 * time.Second

// What a server says of itself.
const (
	serving int32 = iota
	asked         // an operator has asked for it, and may take that back
	stopping
)

// Drain is what one http.Server says of its service. The zero value serves. Safe for
// concurrent use.
type Drain struct {
	state  atomic.Int32
	open   atomic.Int64 // connections
	closed atomic.Int64 // when the last one was, in ns since 1970; 0: never
	probed atomic.Int64 // when a client last asked whether the server is ready, the same
	late   sync.Map     // net.Conn: made after Begin, and no handler has its request yet
}

// lateKey is the key of a late connection in the contexts of its requests.
type lateKey struct{}

// Of makes d that of the server, which has its handler and does not serve yet.
func (d *Drain) Of(s *http.Server) {
	s.ConnState = d.connState
	if inner := s.ConnContext; inner != nil {
		s.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return d.connContext(inner(ctx, c), c) }
	} else {
		s.ConnContext = d.connContext
	}
	next := s.Handler
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The answer to OPTIONS * may be the first on a connection that has been made
		// for a request: a peer that asks for a sign of life gets one.
		if d.Begun() {
			if c := r.Context().Value(lateKey{}); c != nil {
				d.late.Delete(c)
			}
			if r.ProtoMajor == 1 && r.RequestURI != "*" && r.Header["Upgrade"] == nil {
				w.Header()["Connection"] = ends
			}
		}
		next.ServeHTTP(w, r)
	})
}

var ends = []string{"close"}

func (d *Drain) connContext(ctx context.Context, c net.Conn) context.Context {
	if !d.Begun() {
		return ctx
	}
	d.late.Store(c, nil)
	return context.WithValue(ctx, lateKey{}, c)
}

func (d *Drain) connState(c net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		d.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		d.late.Delete(c)
		d.closed.Store(time.Now().UnixNano())
		d.open.Add(-1)
	case http.StateActive, http.StateIdle:
	}
}

// Probed notes that a client has asked whether the server is ready. One that asks when the server
// is about to stop hears of that, and need not be waited for.
func (d *Drain) Probed() {
	if !d.Stopping() {
		d.probed.Store(time.Now().UnixNano())
	}
}

// Begin makes the server say that it is about to stop, whatever an operator has asked for.
func (d *Drain) Begin() { d.state.Store(stopping) }

// Ask has the server give its users away, or take that back. False: it is about to stop.
func (d *Drain) Ask(on bool) bool {
	from, to := serving, asked
	if !on {
		from, to = asked, serving
	}
	done := d.state.CompareAndSwap(from, to) || d.state.Load() == to
	if done && !on {
		d.late.Clear()
	}
	return done
}

// Begun tells whether the server is about to stop, or gives its users away because it was
// asked to.
func (d *Drain) Begun() bool { return d.state.Load() != serving }

// Stopping tells whether it is about to stop.
func (d *Drain) Stopping() bool { return d.state.Load() == stopping }

// Wait returns when the clients can be taken to know: after the limit, or
// when they have ended all connections for a tenth of it and none sends probes. Where
// no client had a connection lately it returns at once.
func (d *Drain) Wait(ctx context.Context, limit time.Duration) {
	probed := within(&d.probed, probing)
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	end := time.NewTimer(limit)
	defer end.Stop()
	for probed || d.open.Load() > 0 || within(&d.closed, limit/10) {
		select {
		case <-end.C:
			return
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// Quiet closes the listener when no more connections are made, and returns when a handler has the request
// of each connection that was made since Begin, or after the limit. http.Server.Shutdown, to be
// called next, drops the requests that it finds half read.
func (d *Drain) Quiet(l listen.Quieter, limit time.Duration) {
	end := time.Now().Add(limit)
	l.Quiet(limit)
	_ = l.Close() // a client that comes now is refused, and goes elsewhere at once
	t := time.NewTicker(time.Millisecond)
	defer t.Stop()
	for d.waiting() && time.Now().Before(end) {
		<-t.C
	}
}

// waiting tells whether there is a late connection.
func (d *Drain) waiting() (some bool) {
	d.late.Range(func(any, any) bool { some = true; return false })
	return some
}

// within tells whether the moment was not longer ago than that.
func within(at *atomic.Int64, d time.Duration) bool {
	ns := at.Load()
	return ns != 0 && time.Since(time.Unix(0, ns)) < d
}
