package channeltest

import (
	"context"
	"net"
	"sync"
	"time"
)

// Per direction: the most that is on the way, in pieces of at most one read.
const (
	piece  = 32 << 10
	pieces = 16
)

// conn is a connection: each end is one half of a net.Pipe, inner has the other halves, and per
// direction two goroutines carry pieces from one to the other.
type conn struct {
	net      *Network
	from, to string
	ends     [2]*end         // the dialler's, the listener's
	inner    [2]net.Conn     // their other halves
	ctx      context.Context //nolint:containedctx // ends with the connection
	stop     context.CancelFunc
	wg       sync.WaitGroup
}

// end is one end of a connection, for the program under test.
type end struct {
	net.Conn
	local, remote address
	once          sync.Once
	closed        chan struct{}
}

// Close closes this end. The news takes as long to the other end as bytes do.
func (e *end) Close() error {
	e.once.Do(func() { close(e.closed) })
	return e.Conn.Close()
}

// LocalAddr is this end's address.
func (e *end) LocalAddr() net.Addr { return e.local }

// RemoteAddr is the other end's address.
func (e *end) RemoteAddr() net.Addr { return e.remote }

func newConn(n *Network, from, to, addr string) *conn {
	c := &conn{net: n, from: from, to: to}
	c.ctx, c.stop = context.WithCancel(context.Background())
	dialler := address(from + ":0")
	for i, a := range [2][2]address{{dialler, address(addr)}, {address(addr), dialler}} {
		outer, inner := net.Pipe()
		c.ends[i] = &end{Conn: outer, local: a[0], remote: a[1], closed: make(chan struct{})}
		c.inner[i] = inner
	}
	return c
}

// run carries bytes until both ends are closed or the connection is killed.
func (c *conn) run() {
	c.carry(way{c.from, c.to}, c.inner[0], c.inner[1])
	c.carry(way{c.to, c.from}, c.inner[1], c.inner[0])
	go func() {
		for _, e := range c.ends {
			select {
			case <-e.closed:
			case <-c.ctx.Done():
			}
		}
		c.kill()
		c.wg.Wait()
		c.net.mu.Lock()
		defer c.net.mu.Unlock()
		delete(c.net.conns, c)
	}()
}

// kill breaks the connection at both ends at once.
func (c *conn) kill() {
	c.stop()
	for _, i := range c.inner {
		i.Close()
	}
}

type chunk struct {
	data []byte // nil: the end was closed
	sent time.Time
}

func (c *conn) carry(w way, from, to net.Conn) {
	onWay := make(chan chunk, pieces)
	c.wg.Go(func() {
		defer close(onWay)
		for buf := make([]byte, piece); ; {
			n, err := from.Read(buf)
			c.net.count(w, n)
			if n > 0 && !c.put(onWay, chunk{append([]byte(nil), buf[:n]...), time.Now()}) {
				return
			}
			if err != nil {
				c.put(onWay, chunk{nil, time.Now()})
				return
			}
		}
	})
	c.wg.Go(func() {
		for p := range onWay {
			if c.arrive(w, p.sent) != nil {
				return
			}
			if p.data == nil {
				to.Close()
				return
			}
			if _, err := to.Write(p.data); err != nil {
				from.Close() // a writer to a closed end fails in the end
				return
			}
		}
	})
}

func (c *conn) put(onWay chan<- chunk, p chunk) bool {
	select {
	case onWay <- p:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// arrive waits until bytes sent at that time reach the other host.
func (c *conn) arrive(w way, sent time.Time) error {
	c.net.mu.Lock()
	delay := c.net.delays[w]
	c.net.mu.Unlock()
	if err := sleep(c.ctx, time.Until(sent.Add(delay))); err != nil {
		return err
	}
	for {
		c.net.mu.Lock()
		cut, changed := c.net.cut[w], c.net.changed
		c.net.mu.Unlock()
		if !cut {
			return nil
		}
		select {
		case <-changed:
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
	}
}
