package deltamanager

import (
	"sync"
	"sync/atomic"
	"time"
)

// fence tells whether the node may serve: not before it has repaired with every member,
// and not after a pause of the whole process until it has done so again.
type fence struct {
	tickedAt atomic.Int64 // last Tick; 0: none yet
	ready    atomic.Bool
	pauses   atomic.Uint64 // times the process had not run for over pauseFence

	mu         sync.Mutex    // guards what follows, and making ready
	settled    bool          // discovery has had its chance: no links means alone
	joinedAt   time.Duration // when the node began to join, or to join again
	pausedFrom time.Duration // when the latest pause began; it ended at joinedAt
}

// paused finds out that the process had not run. It reports that once for each pause.
func (f *fence) paused(now time.Duration) bool {
	last := f.tickedAt.Load()
	if last == 0 || now-time.Duration(last) <= pauseFence || !f.tickedAt.CompareAndSwap(last, int64(now)) {
		return false
	}
	f.pauses.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pausedFrom = time.Duration(last)
	return true
}

// shut makes the node not ready.
func (f *fence) shut(now time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ready.Store(false)
	f.joinedAt = now
}

// open makes the node ready once it has repaired with all, or late after so long, if
// that is not negative. It reports whether it has done so. Repaired is called without a pause
// between its answer and what follows from it.
func (f *fence) open(now, late time.Duration, repaired func() bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.settled && repaired() || late >= 0 && now-f.joinedAt >= late {
		f.ready.Store(true)
		return true
	}
	return false
}

// announcedUntil is up to when members surely have what was announced here, if that takes lag most
// often: not what was announced in a pause that has just ended.
func (f *fence) announcedUntil(now, lag time.Duration) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pausedFrom > 0 && now-f.joinedAt < time.Minute {
		return min(now-lag, f.pausedFrom)
	}
	return now - lag
}

// enter is called first by every entry point. After a pause of the whole
// process, any entry point may run first: that one finds out, and the node
// stops being ready until it has repaired.
func (c *Core) enter(now time.Duration) {
	if c.fence.paused(now) {
		c.rejoin(now)
	}
}

// rejoin makes the node not ready until it has repaired with every member.
func (c *Core) rejoin(now time.Duration) {
	c.fence.shut(now)
	c.repairer.assignment.reset()
	for _, to := range c.peers.all() {
		l := to.lock()
		l.in.Unsettle()
		l.repair.run, l.repair.behindAt = nil, now
		l.repair.distrust = true
		l.unlock()
	}
}

// Enter is called before a request is served: it notices a pause. It reports Ready.
func (c *Core) Enter(now time.Duration) bool {
	c.enter(now)
	return c.Ready()
}

// Ready tells whether the node may serve: it has repaired with every member it
// can reach since it started, or since it was paused.
func (c *Core) Ready() bool { return c.fence.ready.Load() }

// Settle says that discovery has had its first chance: a node without links is
// alone from now on, not early.
func (c *Core) Settle() {
	c.fence.mu.Lock()
	defer c.fence.mu.Unlock()
	c.fence.settled = true
}

// checkReady makes the node ready once it has repaired with every member it
// can send to, or alone, or late if that is allowed.
func (c *Core) checkReady(now time.Duration) {
	if c.fence.ready.Load() {
		return
	}
	late := time.Duration(-1)
	if c.cfg.ServeAnyway {
		late = c.cfg.JoinTimeout
	}
	if c.fence.open(now, late, c.peers.allRepaired) {
		c.repairer.assignment.reset()
	}
}
