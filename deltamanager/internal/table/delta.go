package table

import "time"

// Delta is what one member says of a session: some of its registers, or all of them, or
// that it is over.
type Delta struct {
	Key                 Key
	Regs                []Register
	Idle, Age           time.Duration
	Full, Dead, Expired bool
	Returned, Moved     bool
	Rank                uint64 // of the tombstone, if dead
}
