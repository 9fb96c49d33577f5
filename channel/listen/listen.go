// Package listen bounds the connections that strangers can hold open: their number in all and from
// one address, the number of those that have not proved anything yet, and the time that a
// connection may stand still during a write.
//
// A connection over a limit is closed as soon as it is accepted. The limit of unproven connections
// closes the oldest one instead, so that a flood of silent connections can't keep out a client that
// finishes its handshake at once.
package listen

import (
	"container/list"
	"context"
	"errors"
	"maps"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// Limits bound a listener's connections. Zero values are no limits.
type Limits struct {
	Total      int // connections
	PerAddress int // of them from one address; this machine's own are not counted

	// Connections count as unproven until their user calls Proven.
	Unproven           int
	UnprovenPerAddress int // this machine's own are not counted

	// Stall ends a write when the other side has not taken 64 KiB, or all of it, for so long.
	Stall time.Duration

	// Failed, optional, receives the reason why a connection could not be accepted, as when the
	// process has as many descriptors open as it may. It must not block.
	Failed func(err error)

	// Refused, optional, is called for each connection that is closed for a limit. It must not
	// block. It is called from Accept.
	Refused func(limit string, addr net.Addr)
}

// Words for limits, as Refused receives them and Stats counts them.
const (
	OverTotal              = "connections"
	OverPerAddress         = "connections_per_address"
	OverUnproven           = "unproven"
	OverUnprovenPerAddress = "unproven_per_address"
)

// Listener is a net.Listener with limits. Safe for concurrent use.
type Listener struct {
	net.Listener
	limits Limits
	close  sync.Once

	mu       sync.Mutex
	open     int
	from     map[netip.Addr]*source
	unproven *list.List // of *Conn, oldest first
	refused  map[string]uint64
	failed   uint64
	pause    *pause // of Accept, for Quiet
}

// pause is a halt of Accept that Quiet has asked for.
type pause struct{ reached, over chan struct{} }

// Quieter is a listener that can end its work without a loss, see [Listener.Quiet].
type Quieter interface {
	net.Listener
	Quiet(limit time.Duration)
}

// source counts the open connections from one address.
type source struct{ open, unproven int }

// TCP listens at an address, host:port.
func TCP(ctx context.Context, addr string) (net.Listener, error) {
	return tcp(nil).Listen(ctx, "tcp", addr)
}

// tcp leaves out Multipath TCP, which Go would offer: Linux has no filters for it, so Held and
// Quiet would not work.
func tcp(control func(network, addr string, c syscall.RawConn) error) *net.ListenConfig {
	c := &net.ListenConfig{Control: control}
	c.SetMultipathTCP(false)
	return c
}

// New bounds l.
func New(l net.Listener, limits Limits) *Listener {
	return &Listener{Listener: l, limits: limits, from: map[netip.Addr]*source{}, unproven: list.New(), refused: map[string]uint64{}}
}

// SetLimits changes how many connections there may be, in all and from one address; 0 is no limit.
// Those that are open stay.
func (l *Listener) SetLimits(total, perAddress int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limits.Total, l.limits.PerAddress = total, perAddress
}

// Stats are counts of a listener.
type Stats struct {
	Open     int
	Unproven int
	Refused  map[string]uint64 // closed for a limit, by its word
	Failed   uint64            // could not be accepted
}

// Stats returns the counts.
func (l *Listener) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Stats{Open: l.open, Unproven: l.unproven.Len(), Refused: maps.Clone(l.refused), Failed: l.failed}
}

// Accept waits for the next connection that is within the limits. It is a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if errors.Is(err, os.ErrDeadlineExceeded) { // only Quiet sets one
			l.halt()
			continue
		}
		if err != nil {
			l.fail(err)
			return nil, err
		}
		c := &Conn{Conn: nc, listener: l, from: from(nc.RemoteAddr())}
		limit, victim := l.admit(c)
		if limit == "" {
			return c, nil
		}
		if l.limits.Refused != nil {
			l.limits.Refused(limit, victim.RemoteAddr())
		}
		_ = victim.Close() // nothing is owed to it
		if victim != c {
			return c, nil
		}
	}
}

// halt waits for the end of the pause that Quiet has asked for, if it still does.
func (l *Listener) halt() {
	l.mu.Lock()
	p := l.pause
	l.mu.Unlock()
	if p != nil {
		close(p.reached)
		<-p.over
	}
}

// setPause begins a pause, or ends it with nil.
func (l *Listener) setPause(p *pause) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pause != nil {
		close(l.pause.over)
	}
	l.pause = p
}

// Close implements net.Listener. What comes after the first call changes nothing.
func (l *Listener) Close() (err error) {
	l.close.Do(func() {
		err = l.Listener.Close()
		l.setPause(nil)
	})
	return err
}

// fail notes that no connection could be accepted, unless the listener is closed.
func (l *Listener) fail(err error) {
	if errors.Is(err, net.ErrClosed) {
		return
	}
	l.mu.Lock()
	l.failed++
	l.mu.Unlock()
	if l.limits.Failed != nil {
		l.limits.Failed(err)
	}
}

// admit counts the connection. Over a limit, it returns the limit and the connection to close: this
// one, or another one that gives way.
func (l *Listener) admit(c *Conn) (limit string, victim *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	far := !c.from.IsLoopback()
	s := l.from[c.from]
	if s == nil {
		s = &source{}
	}
	over := func(n, most int) bool { return most > 0 && n >= most }
	switch {
	case over(l.open, l.limits.Total):
		limit, victim = OverTotal, c
	case far && over(s.open, l.limits.PerAddress):
		limit, victim = OverPerAddress, c
	case far && over(s.unproven, l.limits.UnprovenPerAddress):
		limit, victim = OverUnprovenPerAddress, c
	case over(l.unproven.Len(), l.limits.Unproven):
		limit, victim = OverUnproven, l.unproven.Front().Value.(*Conn)
	}
	if limit != "" {
		l.refused[limit]++
	}
	if c.gone = victim == c; c.gone { // never was
		return limit, victim
	}
	l.from[c.from] = s
	l.open++
	s.open++
	if l.limits.Unproven > 0 || l.limits.UnprovenPerAddress > 0 {
		s.unproven++
		c.place = l.unproven.PushBack(c)
	}
	return limit, victim
}

// proven takes the connection out of those that prove nothing. Called with l.mu held.
func (l *Listener) proven(c *Conn) {
	if c.place != nil {
		l.unproven.Remove(c.place)
		c.place = nil
		l.from[c.from].unproven--
	}
}

func (l *Listener) closed(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.from[c.from]
	if s == nil || c.gone {
		return
	}
	c.gone = true
	l.proven(c)
	l.open--
	if s.open--; s.open == 0 {
		delete(l.from, c.from)
	}
}

// from is the client's address; the zero value for all connections without an IP address.
func from(a net.Addr) netip.Addr {
	at, _ := netip.ParseAddrPort(a.String())
	return Client(at.Addr())
}

// Client is the address that stands for all addresses of a client: for IPv6, a whole /64 network,
// since a client that has one of its addresses has all. Loopback addresses stand for themselves.
func Client(addr netip.Addr) netip.Addr {
	if addr = addr.Unmap().WithZone(""); addr.Is6() && !addr.IsLoopback() {
		network, _ := addr.Prefix(64) // fits
		addr = network.Addr()
	}
	return addr
}
