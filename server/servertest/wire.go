package servertest

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// life is one life of a node, as far as its connections are concerned: those it
// accepts and those it dials, so that all can be cut at once.
type life struct {
	token string // nobody else's; the node tells it as its version

	mu        sync.Mutex
	dead      bool
	listeners []net.Listener
	conns     map[*conn]struct{}
}

func born(token string) *life { return &life{token: token, conns: map[*conn]struct{}{}} }

// cut ends all connections of the life, and keeps it from having new ones.
func (l *life) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
	for _, ln := range l.listeners {
		_ = ln.Close() // its node may have closed it
	}
	for c := range l.conns {
		_ = c.Conn.Close() // same
	}
	clear(l.conns)
}

// own makes the connection one of the life's.
func (l *life) own(nc net.Conn) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		_ = nc.Close() // never used
		return nil, net.ErrClosed
	}
	c := &conn{nc, l}
	l.conns[c] = struct{}{}
	return c, nil
}

// listen takes over a listener.
func (l *life) listen(ln net.Listener) net.Listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listeners = append(l.listeners, ln)
	return &listener{ln, l}
}

// dial is the node's way to other members.
func (l *life) dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if nc, err = l.own(nc); err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	return nc, nil
}

type listener struct {
	net.Listener
	life *life
}

// Accept implements net.Listener.
func (ln *listener) Accept() (net.Conn, error) {
	nc, err := ln.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return ln.life.own(nc)
}

type conn struct {
	net.Conn
	life *life
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.life.mu.Lock()
	defer c.life.mu.Unlock()
	delete(c.life.conns, c)
	return c.Conn.Close()
}
