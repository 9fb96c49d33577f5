package channel

import (
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// Limits of what the channel carries.
const (
	MaxPayload = 32 << 20       // bytes; what is longer is dropped
	maxPiece   = 4<<20 - 64<<10 // bytes of a payload in one message, which is at most 4 MiB, its envelope included
	WireMin    = 1              // lowest wire version spoken
	WireMax    = 1              // highest

	maxCandidates = 64 // addresses dialled at a time
	maxDials      = 8  // of them in parallel
	maxKnown      = 64 // members told to another
)

// Times that nobody needs to set.
const (
	dialTimeout  = 2 * time.Second // from dial to welcome
	firstRetry   = 50 * time.Millisecond
	retryLately  = 800 * time.Millisecond // for addresses where a member was lately
	retryAtMost  = 2 * time.Second        // for others
	lately       = 10 * time.Minute       // also how long a hint from a member is pursued in vain
	busyBeat     = time.Second            // heartbeats between frames, so that readiness gets through
	settleAfter  = 800 * time.Millisecond // for providers to propose their first addresses: three questions by mdns
	defaultFrame = 256 << 10
)

// Config tells a Channel who it is and how patient it shall be. Zero durations
// and sizes stand for their defaults.
type Config struct {
	Self         membership.Member // name, boot, addresses and apps as told to others
	Cluster      string            // must be equal among members
	Heartbeat    time.Duration     // between signs of life on an idle stream; 250 ms
	SuspectAfter time.Duration     // silence until a member is probed; 1 s
	DownAfter    time.Duration     // from the last sign of life to gone, at most; 3 s
	Gather       time.Duration     // how long payloads that aren't urgent wait for company; 1 ms, negative: not at all
	MaxFrame     int               // bytes of payload after which a frame is full; 256 KiB
}

func (c Config) withDefaults() Config {
	setDuration(&c.Heartbeat, 250*time.Millisecond)
	setDuration(&c.SuspectAfter, time.Second)
	setDuration(&c.DownAfter, 3*time.Second)
	setDuration(&c.Gather, time.Millisecond)
	if c.MaxFrame == 0 {
		c.MaxFrame = defaultFrame
	}
	return c
}

func setDuration(d *time.Duration, to time.Duration) {
	if *d == 0 {
		*d = to
	}
}
