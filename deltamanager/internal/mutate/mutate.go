// Package mutate plants bugs in the replication core, one at a time, to show
// that the simulator would find them: a simulator that finds nothing proves only
// as much as it can find.
//
// The sources of the core do not use this package: package plant builds the bugs in, for
// the simulator's tools.
package mutate

// Bug is a rule of the core that is broken on purpose.
type Bug int

// Bugs that can be planted.
const (
	None Bug = iota
	MergeByArrival
	AckNewest
	AckGaps
	NoTombstone
	ReviveOnRepair
	CoversTooHigh
	RepairSkipsBucket
	CompareCounts
	SenderClock
	NoLateness
	OldBatch
	NoObserve
	NoResend
	ReadyEarly
	NoPauseFence
	OverflowUnsaid
	TornAuth
	MoveKeepsOld
	ParentLives
	NoTouch
	NoRetouch
	NoWant
	FlushedTooEarly
	NoHandOver
	DonorForgotten
	GhostLink
	TokenByAge
	ExpireTombstone
	ReturnUnannounced
	ReturnOverruled
	ForgedToken
	count
)

// Planted is the bug in force. It is set before anything runs, and not while.
var Planted Bug

// Is tells whether the bug is planted.
func Is(b Bug) bool { return Planted == b }

// All lists the bugs.
func All() []Bug {
	var out []Bug
	for b := None + 1; b < count; b++ {
		out = append(out, b)
	}
	return out
}

// String says what is broken.
func (b Bug) String() string { return names[b] }

var names = [count]string{
	None:              "nothing",
	MergeByArrival:    "merge: the value that arrives last wins",
	AckNewest:         "link: an ack counts for all that was sent, not for what its frame held",
	AckGaps:           "link: the highest frame seen is acknowledged, gaps or not",
	NoTombstone:       "table: an invalidation leaves no tombstone",
	ReviveOnRepair:    "table: a session that repair brings overrules a tombstone",
	CoversTooHigh:     "link: frames say they cover all up to now, sent or not",
	RepairSkipsBucket: "repair: the first bucket that differs is taken for equal",
	CompareCounts:     "repair: equal numbers of sessions count as equal roots",
	SenderClock:       "expiry: ages are taken by the sender's clock",
	NoLateness:        "expiry: the time a message was held back is not added to ages",
	OldBatch:          "expiry: a batch is sent again with the ages of when it was first made",
	NoObserve:         "clock: others' stamps are not observed",
	NoResend:          "link: what is not acknowledged is not sent again",
	ReadyEarly:        "join: ready before the state transfer is done",
	NoPauseFence:      "pause: nobody notices one",
	OverflowUnsaid:    "link: changes are left out without saying so",
	TornAuth:          "auth: a new id comes with the old user",
	MoveKeepsOld:      "auth: the old id stays valid after a login",
	ParentLives:       "auth: a member that hears of a login does not end what was before it",
	NoTouch:           "expiry: reads are not announced",
	NoRetouch:         "expiry: uses that a member missed are not announced again",
	NoWant:            "repair: a session in part is not asked for",
	FlushedTooEarly:   "drain: flushed although changes were left out",
	NoHandOver:        "drain: what came from other nodes is not handed over",
	DonorForgotten:    "join: what a dead donor was asked for is not asked of others",
	GhostLink:         "membership: a late frame brings back the link to a dead member",
	TokenByAge:        "catch-up: the age of a write is judged by the hybrid clock",
	ExpireTombstone:   "expiry: a session that expires leaves a tombstone",
	ReturnUnannounced: "expiry: that a cookie came back is not announced",
	ReturnOverruled:   "expiry: a session ends although its cookie came back elsewhere",
	ForgedToken:       "catch-up: the MACs of tokens are not checked",
}
