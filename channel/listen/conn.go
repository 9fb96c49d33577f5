package listen

import (
	"container/list"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// Conn is a connection of a Listener.
type Conn struct {
	net.Conn
	listener *Listener
	from     netip.Addr
	place    *list.Element // among the unproven; guarded by the listener's lock, as is gone
	gone     bool

	mu    sync.Mutex
	until time.Time // deadline of writes that the connection's user has set
	set   time.Time // when the one for the stall was set
}

// Proven says that the other side has shown that it is no stranger: it counts as unproven no
// longer.
func (c *Conn) Proven() {
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	c.listener.proven(c)
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	c.listener.closed(c)
	return c.Conn.Close()
}

// CloseWrite says that nothing more will be written, where the connection can say so: net/http does
// before it closes a connection whose client still sends.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// piece is how much the other side must take within the stall time.
const piece = 64 << 10

// Write implements net.Conn. It fails with os.ErrDeadlineExceeded where the other side stands
// still.
func (c *Conn) Write(b []byte) (n int, err error) {
	if c.listener.limits.Stall <= 0 {
		return c.Conn.Write(b)
	}
	for {
		part := b[n:min(n+piece, len(b))]
		c.extend()
		m, err := c.Conn.Write(part)
		if n += m; err != nil {
			return n, c.explain(err)
		}
		if n == len(b) {
			return n, nil
		}
	}
}

// ReadFrom implements io.ReaderFrom, so that files go out without a copy where the system can do
// that. Of other readers, which may be slow themselves, only writes count.
func (c *Conn) ReadFrom(r io.Reader) (n int64, err error) {
	left := int64(1<<63 - 1)
	from := r
	if l, ok := r.(*io.LimitedReader); ok { // as net/http's: sendfile wants the file itself below one limit
		from, left = l.R, l.N
	}
	to, ok := c.Conn.(io.ReaderFrom)
	if _, file := from.(*os.File); !ok || !file {
		return io.Copy(struct{ io.Writer }{c}, r)
	}
	if l, ok := r.(*io.LimitedReader); ok {
		defer func() { l.N -= n }()
	}
	for n < left {
		c.extend()
		part := &io.LimitedReader{R: from, N: min(piece, left-n)}
		m, err := to.ReadFrom(part)
		n += m
		if err != nil || part.N > 0 {
			return n, c.explain(err)
		}
	}
	return n, nil
}

// extend gives the next piece its time. Deadlines are set anew a few times within the stall time
// only: each costs a timer.
func (c *Conn) extend() {
	stall := c.listener.limits.Stall
	if stall <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.set) < stall/8 {
		return
	}
	c.set = now
	c.deadline(now.Add(stall + stall/8))
}

// deadline sets the earlier one of stall and the deadline of the connection's user. Called with
// c.mu held.
func (c *Conn) deadline(stall time.Time) {
	if !c.until.IsZero() && c.until.Before(stall) {
		stall = c.until
	}
	_ = c.Conn.SetWriteDeadline(stall) // fails on closed connections only, as does the write
}

// SetWriteDeadline implements net.Conn. The deadline of a stall stays in force.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	if c.listener.limits.Stall <= 0 {
		return c.Conn.SetWriteDeadline(t)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until, c.set = t, time.Time{}
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.Conn.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// explain names the stall if it was the deadline that passed.
func (c *Conn) explain(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.until.IsZero() && !time.Now().Before(c.until) {
		return err
	}
	return fmt.Errorf("the other side has taken nothing for %s: %w", c.listener.limits.Stall, err)
}
