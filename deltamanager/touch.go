package deltamanager

import (
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate"
)

// touches is a pass over all sessions that tells again which ones were used
// since an instant. Digests do not tell uses apart, so repair does not cure
// those that a member has missed: it would take a session for unused too early.
type touches struct {
	mu    sync.Mutex // a leaf
	next  int        // bucket; Buckets: no pass is under way
	since time.Duration
}

// missed begins the pass again, for uses since the instant.
func (t *touches) missed(since time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next >= Buckets || since < t.since {
		t.since = since
	}
	t.next = 0
}

func (t *touches) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.next >= Buckets
}

func (t *touches) take() (n int, since time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, since = t.next, t.since
	t.next = min(n+1, Buckets)
	return n, since
}

// retouch logs uses that members may have missed, as fast as the log has room:
// it never makes a member lag so far that changes are left out.
func (c *Core) retouch() {
	if c.touches.over() {
		return
	}
	news := false
	for range Buckets / 16 {
		if !c.roomy() || mutate.Is(mutate.NoRetouch) {
			break
		}
		n, since := c.touches.take()
		if n >= Buckets {
			break
		}
		for _, k := range c.table.UsedSince(n, since) {
			c.log.publish(&change{pos: c.log.reserve(), key: k})
			news = true
		}
	}
	if news {
		c.wakeAll(false)
	}
}

// roomy tells whether no member lags by more than half of the log.
func (c *Core) roomy() bool {
	head := c.log.head.Load()
	for _, l := range *c.links.Load() {
		l.mu.Lock()
		lags := l.up && head-l.out.Acked() > uint64(len(c.log.slots)/2)
		l.mu.Unlock()
		if lags {
			return false
		}
	}
	return true
}
