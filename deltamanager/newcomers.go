package deltamanager

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate"
)

// newcomers are the sessions whose cookie has not come back yet, as those of robots
// and floods never do: at a limit the oldest of them ends, whichever node made it. All
// members may do so at once and agree nevertheless: what is said of an eviction is what
// is said of an expiry, and a member that has seen the cookie doesn't heed it.
type newcomers struct {
	count atomic.Int64 // of such sessions here; written under the bucket's lock

	mu   sync.Mutex // taken before a bucket's lock
	keys []Key      // in the order in which they came here; some have returned or ended since
}

// arrive adds a session that has just been made or heard of. Called without a lock held.
func (c *Core) arrive(k Key) {
	if c.cfg.MaxSessions == 0 && c.cfg.MaxNewcomers == 0 {
		return // none is ever evicted
	}
	n := &c.table.newcomers
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.keys = append(n.keys, k); len(n.keys) <= 2*int(n.count.Load())+1024 {
		return
	}
	left := make([]Key, 0, n.count.Load()+1024)
	for _, k := range n.keys {
		if c.isNewcomer(k) {
			left = append(left, k)
		}
	}
	n.keys = left
}

func (c *Core) isNewcomer(k Key) bool {
	b := c.table.of(k)
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.session(k)
	return s != nil && !s.returned
}

// oldest takes out the key that has been here for longest.
func (n *newcomers) oldest() (Key, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.keys) == 0 {
		return Key{}, false
	}
	k := n.keys[0]
	if n.keys = n.keys[1:]; len(n.keys) == 0 {
		n.keys = nil
	}
	return k, true
}

// evict ends the oldest newcomer. It reports false if there is none.
func (c *Core) evict() bool {
	for {
		k, ok := c.table.newcomers.oldest()
		if !ok {
			return false
		}
		b := c.table.of(k)
		b.mu.Lock()
		s := b.session(k)
		if s == nil || s.returned {
			b.mu.Unlock()
			continue
		}
		c.table.remove(b, s)
		c.log.publish(&change{pos: c.log.reserve(), key: k, over: expired, last: s.last})
		b.mu.Unlock()
		c.stats.evicted.Add(1)
		c.observe(c.ended(Expired, s, false))
		return true
	}
}

// makeRoom ends newcomers, if need be, so that one more session may be made. It reports
// false if the table is full of sessions whose users came back.
func (c *Core) makeRoom() bool {
	if limit := c.cfg.MaxNewcomers; limit > 0 {
		for range maxEvictions {
			if c.table.newcomers.count.Load() < int64(limit) || !c.evict() {
				break
			}
		}
	}
	return !c.full() || c.evict()
}

// maxEvictions bounds what one new session has to do where there are more
// newcomers than there may be: what others made, or a split kept apart.
const maxEvictions = 4

// full tells whether there are as many sessions as there may be.
func (c *Core) full() bool {
	return c.cfg.MaxSessions > 0 && c.table.count.Load() >= int64(c.cfg.MaxSessions)
}

// comeBack notes that the session's cookie was presented, or that the session need not wait for
// that. It reports whether that was news. Called with b.mu held.
func (t *table) comeBack(b *bucket, s *session) bool {
	if s.returned {
		return false
	}
	before := s.digest(t.seed)
	s.returned = true
	t.newcomers.count.Add(-1)
	t.grow(b, s.digest(t.seed)-before)
	return true
}

// lifeUnused is how long a session with this limit lives unused, 0: no limit. One that nobody
// has come back to lives for first at most, if that is set.
func lifeUnused(limit, first time.Duration, returned bool) time.Duration {
	if !returned && first > 0 && (limit == 0 || limit > first) {
		return first
	}
	return limit
}

// tellsReturn is whether members are told that a session's cookie came back.
func (s *session) tellsReturn() bool { return s.returned && !mutate.Is(mutate.ReturnUntold) }
