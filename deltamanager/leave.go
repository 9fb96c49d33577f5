package deltamanager

import (
	"time"
)

// HandOver lets every member compare itself with this node, which is about to
// leave: it may be the only one that has what a third has written. Flushed
// tells when that is done.
func (c *Core) HandOver(now time.Duration) {
	c.enter(now)
	for _, to := range c.peers.all() {
		l := to.lock()
		l.out.Renew(c.peers.epoch())
		l.out.heartbeatDue = true
		l.unlock()
		c.group.Wake(l.id, false, true)
	}
}

// Flushed tells whether every member that is linked has applied all changes
// made here, and after a HandOver has all that this node had: it may end.
func (c *Core) Flushed() bool {
	for _, to := range c.peers.all() {
		l := to.lock()
		behind := l.out.Acked() != c.log.head.Load() || l.in.peer.Repaired != l.out.Epoch() || l.repair.push.len() > 0
		l.unlock()
		if behind {
			return false
		}
	}
	return true
}
