package deltamanager

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// Expect starts waiting until level's number of members have applied what the
// receipt stands for, which are then sent it at once. Members counts those
// linked now; a member whose link is down counts, but can't confirm before it
// is up. One that is gone counts no longer.
func (c *Core) Expect(r Receipt, level Acks) *Waiter {
	links := c.peers.all()
	w := &Waiter{pos: r.pos, level: level, need: level.need(len(links)), open: len(links), done: make(chan struct{})}
	for _, to := range links {
		l := to.lock()
		switch {
		case l.gone:
			w.lose(true)
		case l.out.LeftOut(r.pos):
			w.lose(false) // it gets the change by repair, which confirms nothing
		case r.pos < l.out.Acked():
			w.confirm(l.id)
		default:
			l.out.waiters = append(l.out.waiters, w)
			l.out.askAck = l.out.askAck || r.pos < l.out.Cursor()
		}
		l.unlock()
		c.group.Wake(l.id, false, true)
	}
	w.settle(func() {})
	return w
}

// Wait is what a commit waits for that asks for a level. In every mode, what
// concerns security waits for all for a moment, and a new session for one, so that
// a node that dies right after a login does not take the session along.
func (c *Core) Wait(asked Acks, create, security bool) Wait {
	switch {
	case security && asked != All:
		return Wait{All, securityWait, c.cfg.FailUnacked}
	case create && asked == Async:
		return Wait{One, createWait, false}
	}
	return Wait{asked, c.cfg.AckTimeout, c.cfg.FailUnacked}
}

// Waiter counts the members that have applied a commit. Close it.
type Waiter struct {
	pos    uint64
	level  Acks
	closed atomic.Bool

	mu      sync.Mutex
	applied []membership.ID
	need    int
	open    int // members that may yet confirm
	ended   bool
	done    chan struct{} // closed when enough have confirmed, or too few can
}

func (w *Waiter) confirm(id membership.ID) {
	w.settle(func() {
		w.applied = append(w.applied, id)
		w.open--
	})
}

// lose says that a member will not confirm: it is gone, or gets the change by repair.
func (w *Waiter) lose(gone bool) {
	w.settle(func() {
		w.open--
		if gone && w.level == All {
			w.need--
		}
	})
}

// settle ends the waiting when its outcome is known.
func (w *Waiter) settle(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
	if !w.ended && (len(w.applied) >= w.need || len(w.applied)+w.open < w.need) {
		w.ended = true
		close(w.done)
	}
}

// Done is closed when enough members have applied the commit, or too few are
// left that could: Applied tells.
func (w *Waiter) Done() <-chan struct{} { return w.done }

// Applied is how many members have applied the commit, and how many were asked for.
func (w *Waiter) Applied() (applied, need int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.applied), w.need
}

// Members are those known to have applied the commit.
func (w *Waiter) Members() []membership.ID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.applied)
}

// Close ends the waiting.
func (w *Waiter) Close() { w.closed.Store(true) }

// Wait says what a commit waits for, how long, and whether it is an error when
// that has not come.
type Wait struct {
	Level  Acks
	Limit  time.Duration
	Strict bool
}

const (
	securityWait = 250 * time.Millisecond
	createWait   = 50 * time.Millisecond
)
