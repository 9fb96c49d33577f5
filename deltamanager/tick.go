package deltamanager

import (
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate"
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
	c.table.forgetTombs()
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
	if l.acked == c.log.head.Load() && !l.untold && c.touches.over() {
		l.clean = now
	}
	if beat := max(c.cfg.Heartbeat, 1); now/beat != l.beatAt/beat { // at the same moments for all members
		l.beatDue = true
	}
	if l.ackBy > 0 && now >= l.ackBy {
		l.ackDue = true
	}
	if len(l.sent) > 0 && now-l.sent[0].at >= c.cfg.ResendAfter && !mutate.Is(mutate.NoResend) {
		c.stats.resends.Add(1)
		l.rewind()
		return true
	}
	return l.beatDue || l.ackDue || l.replyDue(now)
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
		behind := !l.gone && (l.theirEpoch == 0 || l.repaired != l.theirEpoch)
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
	return min(max(granule(c.cfg.MaxInactive)/4, 250*time.Millisecond), 15*time.Second)
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
		hints = c.sweepBucket(now, &c.table.buckets[(from+i)%Buckets]) || hints
	}
	if hints {
		c.wakeAll(false)
	}
}

// sweepBucket removes what has expired. It reports whether others are to be told:
// the node where a session was used last tells them when it ends.
func (c *Core) sweepBucket(now time.Duration, b *bucket) (hints bool) {
	if b.sum.Load() == 0 {
		return false // empty, as most are
	}
	b.mu.Lock()
	for k, t := range b.tombs {
		if t.until <= now {
			c.table.forget(b, k)
		}
	}
	var over []*session
	for _, s := range b.sessions {
		if s.expired(now, c.cfg.AbsoluteLifetime, c.cfg.FirstInactive) {
			over = append(over, s.session)
		}
	}
	for _, s := range over {
		c.table.remove(b, s)
		if mutate.Is(mutate.ExpireTombstone) {
			c.table.bury(b, s.key, tomb{until: now + c.tombLife()})
		}
		c.stats.expired.Add(1)
		if s.mine() {
			c.log.publish(&change{pos: c.log.reserve(), key: s.key, over: expired, last: s.last, back: s.returned})
			hints = true
		}
	}
	b.mu.Unlock()
	for _, s := range over {
		c.observe(c.ended(Expired, s, !s.mine() && !c.expiresHere()))
	}
	return hints
}

// mine tells whether this node used the session last, as far as it knows.
func (s *session) mine() bool { return s.served >= s.last }
