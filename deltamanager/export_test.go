package deltamanager

import (
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	"github.com/nodeserver/nodeserver/deltamanager/internal/token"
	"github.com/nodeserver/nodeserver/membership"
)

// What tests from outside see of the inside.
const (
	TickEvery    = tickEvery
	LinkLife     = linkLife
	AskAtOnce    = askAtOnce
	AskEach      = askEach
	AskBurst     = askBurst
	SessionBurst = sessionBurst
	FrameBytes   = frameBytes
)

// Table is the core's sessions.
func (c *Core) Table() *table.Table { return c.table }

// Clock is the core's clock.
func (c *Core) Clock() *table.Clock { return &c.clock }

// Keys are those for tokens.
func (c *Core) Keys() *token.Ring { return &c.keys }

// Apply merges one delta, as if it had come from a member.
func (c *Core) Apply(now time.Duration, d *table.Delta, from table.Source) table.Verdict {
	return c.applier.apply(now, d, from)
}

// SayChange encodes a change of a session's registers that was waiting to be sent.
func (c *Core) SayChange(now time.Duration, k Key, names ...string) []byte {
	return appendChange(c.base, nil, now, &change{key: k, names: names})
}

// SweepTime is in how long all sessions are looked through for what expired.
func (c *Core) SweepTime() time.Duration { return c.expirer.sweepTime() }

// Confirm takes all that was sent to the member for acknowledged.
func (c *Core) Confirm(id membership.ID) {
	l := c.peers.link(id).lock()
	defer l.unlock()
	l.acknowledged(l.out.Seq())
}

// Miss makes it known that something of what the member has is missing.
func (c *Core) Miss(id membership.ID) {
	l := c.peers.link(id).lock()
	defer l.unlock()
	l.in.Unsettle()
}

// LooksTwice tells whether a repair with the member is between its two looks.
func (c *Core) LooksTwice(id membership.ID) bool {
	l := c.peers.link(id).lock()
	defer l.unlock()
	return l.repair.run != nil && !l.repair.run.confirm
}

// Session is the one of the reference, in the table.
func (r Ref) Session() *table.Session { return r.s }

// Now is the manager's time.
func (m *Manager) Now() time.Duration { return m.now() }

// TryLock locks the view for a moment, if nobody has locked it.
func (v *View) TryLock() bool {
	if !v.mu.TryLock() {
		return false
	}
	v.mu.Unlock()
	return true
}
