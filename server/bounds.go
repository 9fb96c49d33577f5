package server

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/channel/listen"
)

// Shares of the descriptors that the process may have. What users and strangers don't get
// is for members, operators and files.
const (
	usersShare    = 3 // quarters, for the HTTP listener
	maxUnproven   = 512
	unprovenShare = 8  // an eighth at most, for channel connections that prove nothing
	perAddress    = 64 // of these, from one address

	minRate = 500 // bytes a second that a request's body must bring, in the long run
)

// bound puts limits on what others can hold open at this node.
func (s *Server) bound() {
	most := listen.Descriptors()
	s.bounds = map[string]*listen.Listener{
		"http":  listen.New(s.httpL, s.cfg.HTTP.ForUsers(most/4*usersShare, s.log)),
		"admin": listen.New(s.adminL, s.cfg.HTTP.ForAdmin(s.log)),
		"channel": listen.New(s.channelL, listen.Limits{
			Unproven: max(1, min(maxUnproven, most/unprovenShare)), UnprovenPerAddress: perAddress,
			Refused: refusals(s.log, "channel"), Failed: unaccepted(s.log, "channel"),
		}),
	}
	WarnOfFew(s.log)
}

// ForUsers are the limits of a listener of users, share connections where the conf
// names no number. What goes over them is logged, seldom.
func (c HTTPConfig) ForUsers(share int, log *slog.Logger) listen.Limits {
	all, each := c.MaxConnections, c.MaxConnectionsPerAddress
	if all == 0 {
		all = max(1, share)
	}
	if each == 0 {
		each = max(1, all/2)
	}
	return listen.Limits{Total: all, PerAddress: each, Stall: c.StallTimeout, Refused: refusals(log, "http"), Failed: unaccepted(log, "http")}
}

// ForAdmin are the limits of a listener of operators.
func (c HTTPConfig) ForAdmin(log *slog.Logger) listen.Limits {
	return listen.Limits{Stall: c.StallTimeout, Failed: unaccepted(log, "admin")}
}

// WarnOfFew says so when the process may have few descriptors, of which each connection
// takes one.
func WarnOfFew(log *slog.Logger) {
	if most := listen.Descriptors(); most < listen.Few {
		log.Warn("this process may have few files and connections open: raise the limit (ulimit -n, LimitNOFILE in a systemd unit)", "limit", most, "hard_limit", listen.Raisable(), "advised", listen.Few)
	}
}

// Seldom logs a warning that others can cause as often as they like: at once, and then
// once a minute with the count of those that were left out. Safe for concurrent use.
type Seldom struct {
	mu   sync.Mutex
	last time.Time
	more int
}

// Warn logs the line, or counts it.
func (s *Seldom) Warn(log *slog.Logger, text string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Sub(s.last) < time.Minute {
		s.more++
		return
	}
	log.Warn(text, append(args, "more", s.more)...) //nolint:sloglint // constants all
	s.last, s.more = now, 0
}

// refusals returns what logs connections that are closed for a limit.
func refusals(log *slog.Logger, listener string) func(limit string, addr net.Addr) {
	var seldom Seldom
	return func(limit string, addr net.Addr) {
		seldom.Warn(log, "connections are closed, since there are too many", "listener", listener, "limit", limit, "addr", addr.String())
	}
}

// unaccepted returns what logs connections that could not be accepted.
func unaccepted(log *slog.Logger, listener string) func(error) {
	var seldom Seldom
	return func(err error) {
		seldom.Warn(log, "connections can't be accepted", "listener", listener, "err", err, "descriptors", listen.Descriptors())
	}
}

// lively wants a request's body to go on coming: it gets the stall time, and
// then as long as it brings minRate. Requests without a body cost nothing.
func (s *Server) lively(next http.Handler) http.Handler {
	stall := s.cfg.HTTP.StallTimeout
	if stall <= 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0 {
			r.Body = &livelyBody{under: r.Body, control: http.NewResponseController(w), stall: stall}
		}
		next.ServeHTTP(w, r)
	})
}

// livelyBody is a request's body for which the handler waits no longer than it may in all:
// the stall time, and more with each byte that has come. What the handler does between two
// reads takes nothing from that.
type livelyBody struct {
	under   io.ReadCloser
	control *http.ResponseController
	stall   time.Duration

	mu   sync.Mutex
	left time.Duration // to wait, beyond the stall time
	over bool          // has been read to its end, or closed
}

// Read implements io.Reader.
func (b *livelyBody) Read(p []byte) (int, error) {
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
func (b *livelyBody) Close() error {
	err := b.under.Close()
	b.release()
	return err
}

// release takes the deadline away, since from now on the connection waits for its next
// request, or for the client to go. Where the body was not read to its end, the deadline
// stays: net/http reads on, and sets another one for the next request.
func (b *livelyBody) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.over {
		b.over = true
		_ = b.control.SetReadDeadline(time.Time{}) // fails where the connection is gone
	}
}
