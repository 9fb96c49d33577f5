package channel

import (
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// Limits of what the channel carries.
const (
	MaxPayload = 32 << 20       // bytes; a longer payload is dropped
	maxPiece   = 4<<20 - 64<<10 // bytes of a payload in one message; a message has at most 4 MiB, envelope included
	maxFrame   = 256 << 10      // bytes of payload after which a frame is full
	WireMin    = 1              // lowest wire version spoken
	WireMax    = 1              // highest

	maxCandidates = 64 // addresses dialled at the same time, of each standing
	maxDials      = 8  // in parallel, of addresses that are not unproven
	maxKnown      = 64 // members announced to another
)

// Times that no configuration needs to change.
const (
	dialTimeout   = 2 * time.Second // from dial to welcome
	firstRetry    = 50 * time.Millisecond
	retryLately   = 800 * time.Millisecond // for addresses where a member was lately
	retryAtMost   = 2 * time.Second        // for others
	lately        = 10 * time.Minute       // also how long an announced address is dialled without success
	busyHeartbeat = time.Second            // heartbeats between frames, so that readiness gets through
	settleAfter   = 800 * time.Millisecond // for the first addresses of providers: three questions by mdns
	unprovenTime  = 2 * time.Second        // since the start, that Settled waits for unproven addresses
	// a failing unproven address is forgotten so long after its latest proposal: three rounds of mdns
	unprovenLife = 15 * time.Second
	unprovenSlow = 10 * time.Second // longest pause between two dials of an unproven address
	silent       = 10 * time.Second // after which an address that does not answer is worth a warning
	rarely       = time.Minute      // between two log lines of one kind that other nodes can cause
)

// Config holds the identity of a node and its timing. Zero durations stand for their defaults.
type Config struct {
	Self         membership.Member // name, incarnation, addresses and apps as announced to others
	Cluster      string            // equal on all members
	Heartbeat    time.Duration     // of an idle stream; 250 ms
	SuspectAfter time.Duration     // silence until a member is probed; 1 s
	DownAfter    time.Duration     // from the last sign of life to gone, at most; 3 s
	BatchDelay   time.Duration     // wait of a payload that is not urgent for others in its frame; 1 ms, negative: none

	// Settled also waits for these.
	Expect   int           // number of members in this domain, this node included; 0: any number
	Patience time.Duration // longest wait for expected members, listed addresses without an answer, failing providers; 0: none
	Insist   bool          // wait for expected members and failing providers even after Patience
}

func (c Config) withDefaults() Config {
	setDuration(&c.Heartbeat, 250*time.Millisecond)
	setDuration(&c.SuspectAfter, time.Second)
	setDuration(&c.DownAfter, 3*time.Second)
	setDuration(&c.BatchDelay, time.Millisecond)
	return c
}

func setDuration(d *time.Duration, to time.Duration) {
	if *d == 0 {
		*d = to
	}
}
