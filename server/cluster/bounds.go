package cluster

import (
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/channel/listen"
	"github.com/nodeserver/nodeserver/server/config"
)

// ForUsers are the limits of a listener of users, share connections where the conf
// names no number. What goes over them is logged, seldom.
func ForUsers(c config.HTTP, share int, log *slog.Logger) listen.Limits {
	all, each := c.MaxConnections, c.MaxConnectionsPerAddress
	if all == 0 {
		all = max(1, share)
	}
	if each == 0 {
		each = max(1, all/2)
	}
	return listen.Limits{
		Total:      all,
		PerAddress: each,
		Stall:      c.StallTimeout,
		Refused:    Refusals(log, "http"),
		Failed:     Unaccepted(log, "http"),
	}
}

// ForAdmin are the limits of a listener of operators.
func ForAdmin(c config.HTTP, log *slog.Logger) listen.Limits {
	return listen.Limits{Stall: c.StallTimeout, Failed: Unaccepted(log, "admin")}
}

// WarnOfFew says so when the process may have few descriptors, of which each connection
// takes one.
func WarnOfFew(log *slog.Logger) {
	if most := listen.Descriptors(); most < listen.Few {
		log.Warn(
			"this process may have few files and connections open: raise the limit (ulimit -n, LimitNOFILE in a systemd unit)",
			"limit", most, "hard_limit", listen.Raisable(), "advised", listen.Few,
		)
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

// Refusals returns what logs connections that are closed for a limit.
func Refusals(log *slog.Logger, listener string) func(limit string, addr net.Addr) {
	var seldom Seldom
	return func(limit string, addr net.Addr) {
		seldom.Warn(log, "connections are closed, since there are too many", "listener", listener, "limit", limit, "addr", addr.String())
	}
}

// Unaccepted returns what logs connections that could not be accepted.
func Unaccepted(log *slog.Logger, listener string) func(error) {
	var seldom Seldom
	return func(err error) {
		seldom.Warn(log, "connections can't be accepted", "listener", listener, "err", err, "descriptors", listen.Descriptors())
	}
}
