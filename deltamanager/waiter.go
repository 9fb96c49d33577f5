package deltamanager

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// Waiter counts the members that have applied a commit. Close it.
type Waiter struct {
	pos      uint64
	hopeless bool // fewer members are linked than must confirm
	closed   atomic.Bool

	mu      sync.Mutex
	applied []membership.ID
	need    int
	done    chan struct{} // closed when as many as needed have applied it
}

// Expect starts waiting until level's number of members have applied what the
// receipt stands for, which are then sent it at once. Members counts those
// linked now; a member whose link is down counts, but can't confirm before it is up.
func (c *Core) Expect(r Receipt, level Acks) *Waiter {
	links := *c.links.Load()
	w := &Waiter{pos: r.pos, need: level.need(len(links)), done: make(chan struct{})}
	w.hopeless = len(links) < w.need
	if w.need == 0 {
		close(w.done)
		return w
	}
	for _, l := range links {
		l.mu.Lock()
		switch {
		case l.gone || r.pos < l.start: // it gets the change by repair, which confirms nothing
		case r.pos < l.acked:
			w.confirm(l.id)
		default:
			l.waiters = append(l.waiters, w)
		}
		l.mu.Unlock()
		c.group.Wake(l.id, false, true)
	}
	return w
}

func (w *Waiter) confirm(id membership.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.applied = append(w.applied, id)
	if len(w.applied) == w.need {
		close(w.done)
	}
}

// Done is closed when enough members have applied the commit.
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

// Wait is what a commit waits for that asks for a level. In every mode, what
// concerns security waits for all for a moment, and a new session for one, so that
// a node that dies right after a login does not take the session along.
func (c *Core) Wait(asked Acks, create, security bool) Wait {
	switch {
	case security && asked != All:
		return Wait{All, securityWait, false}
	case create && asked == Async:
		return Wait{One, createWait, false}
	}
	return Wait{asked, c.cfg.AckTimeout, c.cfg.FailUnacked}
}

const (
	securityWait = 250 * time.Millisecond
	createWait   = 50 * time.Millisecond
)
