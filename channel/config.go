package channel

import (
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// Limits of what the channel carries.
const (
	MaxPayload = 32 << 20       // bytes; what is longer is dropped
	maxPiece   = 4<<20 - 64<<10 // bytes of a payload in one message, which is at most 4 MiB, its envelope included
	maxFrame   = 256 << 10      // bytes of payload after which a frame is full
	WireMin    = 1              // lowest wire version spoken
	WireMax    = 1              // highest

	maxCandidates = 64 // addresses dialled at a time, of each standing
	maxDials      = 8  // in parallel, of those that are not unproven
	maxKnown      = 64 // members announced to another
)

// Times that nobody needs to set.
const (
	dialTimeout   = 2 * time.Second // from dial to welcome
	firstRetry    = 50 * time.Millisecond
	retryLately   = 800 * time.Millisecond // for addresses where a member was lately
	retryAtMost   = 2 * time.Second        // for others
	lately        = 10 * time.Minute       // also how long a hint from a member is pursued in vain
	busyHeartbeat = time.Second            // heartbeats between frames, so that readiness gets through
	settleAfter   = 800 * time.Millisecond // for providers to propose their first addresses: three questions by mdns
	unprovenTime  = 2 * time.Second        // from the start, for addresses that anybody may have made up
	unprovenLife  = 15 * time.Second       // without being proposed again, three rounds of mdns, such an address that fails is dropped
	unprovenSlow  = 10 * time.Second       // and at most this is between two dials of one
	silent        = 10 * time.Second       // after which an address that does not answer is worth a warning
	rarely        = time.Minute            // between two log lines of one kind that others can cause
)

// Config tells a Channel who it is and how patient it shall be. Zero durations
// stand for their defaults.
type Config struct {
	Self         membership.Member // name, incarnation, addresses and apps as announced to others
	Cluster      string            // must be equal among members
	Heartbeat    time.Duration     // between signs of life on an idle stream; 250 ms
	SuspectAfter time.Duration     // silence until a member is probed; 1 s
	DownAfter    time.Duration     // from the last sign of life to gone, at most; 3 s
	Gather       time.Duration     // how long payloads that aren't urgent wait for company; 1 ms, negative: not at all

	// What Settled waits for, besides.
	Expect   int           // members of this domain there, this one included; 0: however many there are
	Patience time.Duration // for members that are expected, listed addresses that don't answer, providers that fail; 0: none
	Insist   bool          // wait on for those expected, and for providers that fail, when Patience is over
}

func (c Config) withDefaults() Config {
	setDuration(&c.Heartbeat, 250*time.Millisecond)
	setDuration(&c.SuspectAfter, time.Second)
	setDuration(&c.DownAfter, 3*time.Second)
	setDuration(&c.Gather, time.Millisecond)
	return c
}

func setDuration(d *time.Duration, to time.Duration) {
	if *d == 0 {
		*d = to
	}
}
