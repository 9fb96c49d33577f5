package deltamanager

import (
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate"
	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
)

// Tick lets time pass: heartbeats, acknowledgements that are due, frames to
// send again, repairs, expiry, readiness. Call it about every 50 ms.
func (c *Core) Tick(now time.Duration) {
	c.enter(now)
	c.beatAt.Store(int64(max(now, 1)))
	for _, l := range *c.links.Load() {
		if c.tickLink(now, l) {
			c.group.Wake(l.id, false, false)
		}
		if c.owesLarge(now, l) {
			c.group.Wake(l.id, true, true)
		}
		c.stepRepair(now, l)
		c.forgetSilent(now, l)
	}
	c.retouch()
	c.sweep(now)
	c.table.ForgetTombs()
	c.checkReady(now)
}

// tickLink reports whether a frame is due.
func (c *Core) tickLink(now time.Duration, l *link) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.up {
		return false
	}
	l.tellWaiters()
	if l.out.Acked() == c.log.head.Load() && !l.out.untold && c.touches.over() {
		l.out.clean = now
	}
	if beat := max(c.cfg.Heartbeat, 1); now/beat != l.out.beatAt/beat { // at the same moments for all members
		l.out.beatDue = true
	}
	if l.in.ackBy > 0 && now >= l.in.ackBy {
		l.out.ackDue = true
	}
	if l.out.Overdue(now, c.cfg.ResendAfter) && !mutate.Is(mutate.NoResend) {
		c.stats.resends.Add(1)
		l.out.Rewind()
		return true
	}
	return l.out.beatDue || l.out.ackDue || l.replyDue(now)
}

// checkReady makes the node ready once it has repaired with every member it
// can send to, or alone, or late if that is allowed.
func (c *Core) checkReady(now time.Duration) {
	if c.ready.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.settled && (c.allRepaired() || mutate.Is(mutate.ReadyEarly)) || c.cfg.ServeAnyway && now-c.joinedAt >= c.cfg.JoinTimeout {
		c.ready.Store(true)
		c.deal.reset()
	}
}

func (c *Core) allRepaired() bool {
	for _, l := range *c.links.Load() {
		l.mu.Lock()
		// A link that is down may be the one whose member has what is missing
		// here; it counts until the member is gone.
		behind := !l.gone && !l.in.Settled()
		l.mu.Unlock()
		if behind {
			return false
		}
	}
	return true
}

// sweepTime is in how long all sessions are looked through for what expired.
func (c *Core) sweepTime() time.Duration {
	if c.cfg.MaxInactive <= 0 {
		return 15 * time.Second
	}
	return min(max(table.Granule(c.cfg.MaxInactive)/4, 250*time.Millisecond), 15*time.Second)
}

// sweep looks through as many buckets as the time since the last sweep pays for.
func (c *Core) sweep(now time.Duration) {
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
		c.wakeAll(false)
	}
}

// sweepBucket removes what has expired. It reports whether others are to be told:
// the node where a session was used last tells them when it ends.
func (c *Core) sweepBucket(now time.Duration, n int) (hints bool) {
	over := c.table.Sweep(now, n)
	for _, s := range over {
		c.stats.expired.Add(1)
		if s.Mine() {
			c.log.publish(&change{pos: c.log.reserve(), key: s.Key, over: table.Expired, last: s.Last, back: s.Returned})
			hints = true
		}
	}
	for _, s := range over {
		c.observe(c.ended(Expired, s, !s.Mine() && !c.expiresHere()))
	}
	return hints
}
