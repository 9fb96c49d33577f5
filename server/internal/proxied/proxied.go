// Package proxied reads what a proxy says of a client before the client's first byte: the PROXY
// protocol, versions 1 and 2, of proxies that pass connections on and not requests.
package proxied

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/nodeserver/nodeserver/channel/listen"
	"github.com/nodeserver/nodeserver/server/cluster"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/forward"
)

// Listener returns connections of the one below, where those of trusted proxies have the address
// of the client. It reads what proxies say in goroutines of its own: one that says nothing
// keeps nobody waiting. Safe for concurrent use.
type Listener struct {
	*listen.Listener

	trust    forward.Trust
	required bool
	patience time.Duration
	log      *slog.Logger
	faults   cluster.Seldom

	begin    sync.Once
	asking   atomic.Int64 // goroutines that read what a proxy says
	accepted chan accepted
	closed   chan struct{}
	end      sync.Once
}

// accepted is what Accept returns; nothing: Accept is to wait on.
type accepted struct {
	conn net.Conn
	err  error
}

// New returns the listener of users, which reads the PROXY protocol if the conf says so.
func New(l *listen.Listener, c config.HTTP, trust forward.Trust, log *slog.Logger) listen.Quieter {
	if c.ProxyProtocol != config.ProxyOptional && c.ProxyProtocol != config.ProxyRequired {
		return l
	}
	return &Listener{
		Listener: l, trust: trust, required: c.ProxyProtocol == config.ProxyRequired, patience: c.ReadHeaderTimeout, log: log,
		accepted: make(chan accepted), closed: make(chan struct{}),
	}
}

// run accepts connections until the listener is closed.
func (l *Listener) run() {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			l.hand(accepted{err: err})
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		from, err := netip.ParseAddrPort(c.RemoteAddr().String())
		if err != nil || !l.trust.Has(from.Addr()) {
			l.hand(accepted{conn: c})
			continue
		}
		l.asking.Add(1)
		go l.ask(c)
	}
}

// ask reads what the proxy says of the client.
func (l *Listener) ask(c net.Conn) {
	defer l.asking.Add(-1)
	proxied, err := l.read(c)
	if err != nil {
		l.faults.Warn(l.log, "a connection of a trusted proxy has no PROXY protocol that can be read, and is closed",
			"addr", c.RemoteAddr().String(), "err", err)
		_ = c.Close() // nothing is owed to it
		return
	}
	l.hand(accepted{conn: proxied})
}

func (l *Listener) read(c net.Conn) (net.Conn, error) {
	under, ok := c.(*listen.Conn)
	if !ok {
		return nil, fmt.Errorf("a connection of type %T", c)
	}
	if err := c.SetReadDeadline(time.Now().Add(l.patience)); err != nil {
		return nil, err
	}
	of := &conn{Conn: under, in: bufio.NewReaderSize(c, bufferSize), remote: c.RemoteAddr()}
	h, err := proxyproto.Read(of.in)
	switch {
	case errors.Is(err, proxyproto.ErrNoProxyProtocol) && !l.required:
	case err != nil:
		return nil, err
	case !h.Command.IsLocal(): // else the proxy itself asks
		if source, _, ok := h.TCPAddrs(); ok {
			of.remote = source
		}
	}
	return of, c.SetReadDeadline(time.Time{})
}

// bufferSize is more than any head of the protocol without extensions; those are read piece by
// piece.
const bufferSize = 1 << 10

// hand gives the connection to Accept.
func (l *Listener) hand(a accepted) {
	select {
	case l.accepted <- a:
	case <-l.closed:
		if a.conn != nil {
			_ = a.conn.Close() // nobody will serve it
		}
	}
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	l.begin.Do(func() { go l.run() })
	for {
		select {
		case a := <-l.accepted:
			if a.conn != nil || a.err != nil {
				return a.conn, a.err
			}
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
}

// Quiet does what that of the listener below does, and waits for what proxies still have to say.
func (l *Listener) Quiet(limit time.Duration) {
	over := time.After(limit)
	l.Listener.Quiet(limit)
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for l.asking.Load() > 0 {
		select {
		case <-look.C:
		case <-over:
			return
		}
	}
	select {
	case l.accepted <- accepted{}: // the caller of Accept has taken all before, and calls it again
	case <-l.closed:
	case <-over:
	}
}

// Close implements net.Listener.
func (l *Listener) Close() error {
	l.end.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// conn is a connection of which a proxy has said whose it is.
type conn struct {
	*listen.Conn
	in     *bufio.Reader // what was read beyond the proxy's word; nil: nothing is left of that
	remote net.Addr
}

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// Read implements net.Conn. One goroutine at a time reads a connection.
func (c *conn) Read(p []byte) (int, error) {
	if c.in != nil {
		if c.in.Buffered() > 0 {
			return c.in.Read(p)
		}
		c.in = nil
	}
	return c.Conn.Read(p)
}
