package deltamanager

import (
	"io"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// Config is the configuration of a delta manager. New fills in nothing: every field
// but those said to be optional must be set.
type Config struct {
	Self membership.ID

	Limits Limits // of the sessions; Lifetime and MaxBytes must be set

	Acks             Acks          // what a commit waits for
	AckTimeout       time.Duration // and for how long
	FailUnacked      bool          // a commit that was not acknowledged in time is an error
	ChangeLogEntries int           // changes remembered for members that lag; beyond that repair serves them

	FreshnessWait time.Duration // how long a request waits for what its user has seen and this node has not; 0: not at all

	// TokenKeys are secrets of the cluster for the MACs of tokens: the first makes them, tokens by
	// any are believed. With two, a token has a MAC by each, so that members that know one of them
	// believe it. nil: the members agree on a key that one of them draws from Rand.
	TokenKeys *TokenKeys

	Heartbeat      time.Duration
	RepairInterval time.Duration // between two looks whether a member's sessions differ
	JoinTimeout    time.Duration // with ServeAnyway: be ready after it whatever is missing
	ServeAnyway    bool
	ResendAfter    time.Duration // optional; 2 s: a frame not acknowledged for so long is sent again

	Seed uint64    // of digests; the same at all members
	Wall time.Time // wall clock at now = 0
	Rand io.Reader // of keys of sessions and tokens; crypto/rand.Reader outside simulations

	// Observe, optional, is called with what happens to sessions: after the fact, from
	// whichever goroutine caused it, without a lock held. It must not block.
	Observe func(Event)
}

// Acks says what a commit waits for besides the local merge.
type Acks uint8

// Levels of Acks.
const (
	Async    Acks = iota // nothing
	One                  // one other member has applied it
	Majority             // with this node, more than half of the members have applied it
	All                  // every other member has applied it
)

var ackNames = [...]string{Async: "async", One: "one", Majority: "majority", All: "all"}

// String is the level as conf files spell it.
func (a Acks) String() string { return ackNames[a] }

// ParseAcks reads a level.
func ParseAcks(s string) (Acks, bool) {
	for a, name := range ackNames {
		if s == name {
			return Acks(a), true
		}
	}
	return Async, false
}

// need is how many of the others must have applied a commit.
func (a Acks) need(others int) int {
	switch a {
	case One:
		return 1
	case Majority:
		return (others + 1) / 2
	case All:
		return others
	case Async:
	}
	return 0
}

// Limits of what one frame, message and session hold (DESIGN part 4.8).
const (
	frameBytes = 256 << 10
)

// pauseFence is how long a node may not have run without noticing: after that
// its sessions may be old, and it repairs before it serves.
const pauseFence = 2 * time.Second
