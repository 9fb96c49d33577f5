package table

import (
	"sync/atomic"
	"time"
)

// Stamp orders all writes of a cluster: a hybrid logical clock value and the
// incarnation that drew it. No two writes have the same stamp.
type Stamp struct {
	Clock       uint64 // 48 bits milliseconds since 1970, 16 bits counter
	Incarnation uint64 // membership.ID.Incarnation of the writer
}

// Less tells whether a is older than b.
func (a Stamp) Less(b Stamp) bool {
	return a.Clock < b.Clock || a.Clock == b.Clock && a.Incarnation < b.Incarnation
}

// MaxAhead is how far a stamp may lie in the future: beyond it a single broken
// or hostile member could use up the clock for everybody.
const MaxAhead = 24 * time.Hour

// Clock is a hybrid logical clock (Kulkarni et al., "Logical Physical Clocks",
// 2014). Its physical part is the wall clock read once at start plus monotonic
// time, so that no later change of the wall clock moves it.
// Safe for concurrent use.
type Clock struct {
	wall uint64 // milliseconds since 1970 at now = 0
	last atomic.Uint64
}

// Start sets the clock to the wall clock's time at now = 0. Before anything else.
func (c *Clock) Start(wall time.Time) {
	c.wall = uint64(wall.UnixMilli())
	c.last.Store(c.Physical(0))
}

// Physical is what the wall clock shows now, as the clock part of a stamp.
func (c *Clock) Physical(now time.Duration) uint64 {
	return (c.wall + uint64(now/time.Millisecond)) << 16
}

// Tick draws a value above all drawn and observed before.
func (c *Clock) Tick(now time.Duration) uint64 {
	for {
		last := c.last.Load()
		next := max(c.Physical(now), last+1)
		if c.last.CompareAndSwap(last, next) {
			return next
		}
	}
}

// Observe makes later ticks exceed t. It reports false, and does nothing, when
// t lies over MaxAhead in the future.
func (c *Clock) Observe(now time.Duration, t uint64) bool {
	for {
		last := c.last.Load()
		if t <= last {
			return true
		}
		if c.Ahead(now, t) > MaxAhead {
			return false
		}
		if c.last.CompareAndSwap(last, t) {
			return true
		}
	}
}

// Follow is observe for what users bring: it moves the clock by clockSlack at most.
func (c *Clock) Follow(now time.Duration, t uint64) {
	if t <= c.Read()+uint64(ClockSlack/time.Millisecond)<<16 {
		c.Observe(now, t)
	}
}

// Ahead is how far t lies in this node's future; negative: in its past.
func (c *Clock) Ahead(now time.Duration, t uint64) time.Duration {
	return time.Duration(int64(t>>16)-int64(c.Physical(now)>>16)) * time.Millisecond
}

// Read is the highest value drawn or observed.
func (c *Clock) Read() uint64 { return c.last.Load() }

// ClockSlack is how far the hybrid clocks of two members that hear of each other may be
// apart: a token that is older by so much is too old, and a stamp in a token moves
// the clock no further than this.
const ClockSlack = 2 * time.Second
