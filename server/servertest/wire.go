package servertest

import (
	"bytes"
	"net"
	"slices"
	"sync"
)

// wires are all connections of a cluster, so that those of one node can be cut.
// What a node accepts is its own. What it dials is accepted by another node:
// the token in its hello, which a dialling member sends first, tells whose it is.
type wires struct {
	mu    sync.Mutex
	lives []*life
}

// life is one life of a node, as far as its connections are concerned. Guarded
// by wires.mu.
type life struct {
	token     string // nobody else's; the node tells it as its version
	dead      bool
	listeners []net.Listener
	conns     map[*conn]struct{}
}

func (w *wires) born(token string) *life {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := &life{token: token, conns: map[*conn]struct{}{}}
	w.lives = append(w.lives, l)
	return l
}

// cut ends all connections of a life, and keeps it from having new ones.
func (w *wires) cut(l *life) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.dead = true
	for _, ln := range l.listeners {
		_ = ln.Close() // its node may have closed it
	}
	for c := range l.conns {
		c.closeLocked() //nolint:errcheck // same
	}
}

// listener hands out connections that can be cut.
type listener struct {
	net.Listener
	wires   *wires
	owner   *life
	members bool // others dial it with a hello
}

func (w *wires) listener(l *life, ln net.Listener, members bool) net.Listener {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.listeners = append(l.listeners, ln)
	return &listener{ln, w, l, members}
}

// Accept implements net.Listener.
func (ln *listener) Accept() (net.Conn, error) {
	nc, err := ln.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, wires: ln.wires, of: []*life{ln.owner}, unknown: ln.members}
	ln.wires.mu.Lock()
	defer ln.wires.mu.Unlock()
	c.joinLocked(ln.owner)
	return c, nil
}

// conn is an accepted connection.
type conn struct {
	net.Conn
	wires *wires

	// Only Read uses these two, and one goroutine reads.
	unknown bool   // nobody has said hello yet
	begin   []byte // what was read till then

	of []*life // whose it is; guarded by wires.mu
}

// helloBytes is within how much of a connection the hello must be found.
const helloBytes = 16 << 10

// joinLocked makes the connection one of the life's. wires.mu is held.
func (c *conn) joinLocked(l *life) (alive bool) {
	if l.dead {
		_ = c.closeLocked() // as in cut
		return false
	}
	l.conns[c] = struct{}{}
	if !slices.Contains(c.of, l) {
		c.of = append(c.of, l)
	}
	return true
}

// Read implements net.Conn. Nothing that a dead node says passes.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.unknown && n > 0 && !c.listen(p[:n]) {
		return 0, net.ErrClosed
	}
	return n, err
}

// listen looks for a hello in what comes, and reports whether its sender lives.
func (c *conn) listen(p []byte) bool {
	c.begin = append(c.begin, p...)
	c.wires.mu.Lock()
	defer c.wires.mu.Unlock()
	from, at := (*life)(nil), len(c.begin)
	for _, l := range c.wires.lives {
		if i := bytes.Index(c.begin[:at], []byte(l.token)); i >= 0 {
			from, at = l, i // the first is the sender; members it knows come after
		}
	}
	if from == nil {
		c.unknown = len(c.begin) < helloBytes
		return true
	}
	c.unknown, c.begin = false, nil
	return c.joinLocked(from)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.wires.mu.Lock()
	defer c.wires.mu.Unlock()
	return c.closeLocked()
}

// closeLocked closes the connection and forgets it. wires.mu is held.
func (c *conn) closeLocked() error {
	for _, l := range c.of {
		delete(l.conns, c)
	}
	return c.Conn.Close()
}
