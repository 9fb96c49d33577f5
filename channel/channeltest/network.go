package channeltest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"
)

// backlog is how many connections wait to be accepted.
const backlog = 64

// way is the direction from one host to another.
type way struct{ from, to string }

// Network joins hosts. Safe for concurrent use.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*listener
	conns     map[*conn]bool
	dials     map[string]int
	delays    map[way]time.Duration
	cut       map[way]bool
	starved   map[string]bool
	carried   map[way]int64 // bytes
	changed   chan struct{} // closed and replaced when a way was healed
}

// Carried is how many bytes hosts have sent each other so far.
func (n *Network) Carried() (bytes int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, b := range n.carried {
		bytes += b
	}
	return bytes
}

// Sent is how many bytes one host has sent to another so far.
func (n *Network) Sent(from, to string) int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.carried[way{from, to}]
}

func (n *Network) count(w way, bytes int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.carried[w] += int64(bytes)
}

// NewNetwork returns a network without hosts or faults.
func NewNetwork() *Network {
	return &Network{
		listeners: map[string]*listener{}, conns: map[*conn]bool{},
		dials: map[string]int{}, delays: map[way]time.Duration{}, cut: map[way]bool{}, starved: map[string]bool{},
		carried: map[way]int64{}, changed: make(chan struct{}),
	}
}

// Listen listens at an address, host:port. It panics if the address is taken.
func (n *Network) Listen(addr string) net.Listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[addr] != nil {
		panic("channeltest: " + addr + " is taken")
	}
	l := &listener{net: n, addr: address(addr), accept: make(chan net.Conn, backlog), closed: make(chan struct{})}
	n.listeners[addr] = l
	return l
}

// Dialer dials from a host; it has the type that grpctransport.New takes.
func (n *Network) Dialer(host string) func(ctx context.Context, addr string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) { return n.dial(ctx, host, addr) }
}

func (n *Network) dial(ctx context.Context, from, addr string) (net.Conn, error) {
	to, _, _ := strings.Cut(addr, ":")
	n.mu.Lock()
	n.dials[addr]++
	starved := n.starved[from]
	n.mu.Unlock()
	if starved {
		return nil, &net.OpError{Op: "dial", Net: "mem", Addr: address(addr), Err: syscall.EMFILE}
	}
	for _, w := range []way{{from, to}, {to, from}} {
		if err := n.pass(ctx, w); err != nil {
			return nil, &net.OpError{Op: "dial", Net: "mem", Addr: address(addr), Err: err}
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.listeners[addr]
	if l == nil {
		return nil, &net.OpError{Op: "dial", Net: "mem", Addr: address(addr), Err: syscall.ECONNREFUSED}
	}
	c := newConn(n, from, to, addr)
	select {
	case l.accept <- c.ends[1]:
	default:
		return nil, fmt.Errorf("dial %s: %d connections wait to be accepted", addr, backlog)
	}
	n.conns[c] = true
	c.run()
	return c.ends[0], nil
}

// pass waits until the way is open, and then for its delay.
func (n *Network) pass(ctx context.Context, w way) error {
	for {
		n.mu.Lock()
		cut, changed, delay := n.cut[w], n.changed, n.delays[w]
		n.mu.Unlock()
		if !cut {
			return sleep(ctx, delay)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Dialled is how often the address has been dialled.
func (n *Network) Dialled(addr string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials[addr]
}

// Starve takes all descriptors for new connections from a host, or gives them back.
func (n *Network) Starve(host string, starved bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.starved[host] = starved
}

// Delay sets how long bytes take between two hosts, each way.
func (n *Network) Delay(a, b string, d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delays[way{a, b}], n.delays[way{b, a}] = d, d
}

// Cut stops everything between two hosts, as pulling the cable does.
func (n *Network) Cut(a, b string) {
	n.CutOneWay(a, b)
	n.CutOneWay(b, a)
}

// CutOneWay stops all bytes from one host to another.
func (n *Network) CutOneWay(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[way{from, to}] = true
}

// Heal lets everything through again, the bytes that have waited first.
func (n *Network) Heal(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.cut, way{a, b})
	delete(n.cut, way{b, a})
	close(n.changed)
	n.changed = make(chan struct{})
}

// Reset breaks all connections between two hosts, at both ends at once, and returns how many there
// were.
func (n *Network) Reset(a, b string) int {
	return n.breakAll(func(c *conn) bool {
		return c.from == a && c.to == b || c.from == b && c.to == a
	})
}

// Kill breaks all connections of a host and closes its listeners, as the end of its process does.
func (n *Network) Kill(host string) {
	n.mu.Lock()
	for addr, l := range n.listeners {
		if h, _, _ := strings.Cut(addr, ":"); h == host {
			l.close()
		}
	}
	n.mu.Unlock()
	n.breakAll(func(c *conn) bool { return c.from == host || c.to == host })
}

func (n *Network) breakAll(which func(*conn) bool) (broken int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		if which(c) {
			c.kill()
			broken++
		}
	}
	return broken
}

// listener hands out the connections that were dialled.
type listener struct {
	net    *Network
	addr   address
	accept chan net.Conn
	once   sync.Once
	closed chan struct{}
}

// Accept waits for a connection.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends the listener; connections not accepted yet are closed.
func (l *listener) Close() error {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	l.close()
	return nil
}

// close is called with the network's mu held, so that no dial comes between.
func (l *listener) close() {
	l.once.Do(func() {
		delete(l.net.listeners, string(l.addr))
		close(l.closed)
		for {
			select {
			case c := <-l.accept:
				c.Close()
			default:
				return
			}
		}
	})
}

// Addr is the address listened at.
func (l *listener) Addr() net.Addr { return l.addr }

type address string

// Network is part of net.Addr.
func (address) Network() string { return "mem" }

// String is host:port.
func (a address) String() string { return string(a) }
