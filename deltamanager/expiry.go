package deltamanager

import (
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
)

// expirer ends sessions at their time, or for want of room.
type expirer struct {
	*base

	mu      sync.Mutex // guards what follows; a leaf
	sweepAt int        // next bucket to look through for what expired
	sweptAt time.Duration
}

// evict ends the oldest newcomer. It reports false if there is none.
func (c *expirer) evict() bool {
	s := c.table.Evict()
	if s == nil {
		return false
	}
	c.log.publish(&change{pos: c.log.reserve(), key: s.Key, over: table.Expired, last: s.Last})
	c.stats.sessions.evicted.Add(1)
	c.listeners.observe(c.listeners.ended(Expired, s, false))
	return true
}

// makeRoom ends newcomers, if need be, so that one more session may be made. It reports
// false if the table is full of sessions whose users came back.
func (c *expirer) makeRoom() bool {
	if limit := c.cfg.Limits.MaxNewcomers; limit > 0 {
		for range maxEvictions {
			if c.table.Unreturned() < int64(limit) || !c.evict() {
				break
			}
		}
	}
	return !c.table.Full() || c.evict()
}

// sweepTime is in how long all sessions are looked through for what expired.
func (c *expirer) sweepTime() time.Duration {
	if c.cfg.Limits.MaxInactive <= 0 {
		return 15 * time.Second
	}
	return min(max(table.Granule(c.cfg.Limits.MaxInactive)/4, 250*time.Millisecond), 15*time.Second)
}

// sweep looks through as many buckets as the time since the last sweep pays for.
func (c *expirer) sweep(now time.Duration) {
	c.mu.Lock()
	n := int(Buckets * (now - c.sweptAt) / c.sweepTime())
	from := c.sweepAt
	if n > 0 {
		n = min(n, Buckets)
		c.sweptAt, c.sweepAt = now, (from+n)%Buckets
	}
	c.mu.Unlock()
	hints := false
	for i := range n {
		hints = c.sweepBucket(now, (from+i)%Buckets) || hints
	}
	if hints {
		c.peers.wakeAll(false)
	}
}

// sweepBucket removes what has expired. It reports whether it is to be announced:
// the node where a session was used last tells them when it ends.
func (c *expirer) sweepBucket(now time.Duration, n int) (hints bool) {
	over := c.table.Sweep(now, n)
	for _, s := range over {
		c.stats.sessions.expired.Add(1)
		if s.Mine() {
			c.log.publish(&change{pos: c.log.reserve(), key: s.Key, over: table.Expired, last: s.Last, back: s.Returned})
			hints = true
		}
	}
	for _, s := range over {
		c.listeners.observe(c.listeners.ended(Expired, s, !s.Mine() && !c.peers.expiresHere()))
	}
	return hints
}

// maxEvictions bounds what one new session has to do where there are more
// newcomers than there may be: what others made, or a split kept apart.
const maxEvictions = 4
