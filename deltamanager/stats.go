package deltamanager

import (
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// Stats is a snapshot. Counters count since the node's start.
type Stats struct {
	Ready  bool
	Pauses int64 // times the process had not run for over 2 s

	SessionStats
	TrafficStats
	RepairStats
	AskStats

	Links []LinkStats
}

// SessionStats says how many sessions there are, and what became of them.
type SessionStats struct {
	Sessions   int64
	Newcomers  int64 // those of them whose cookie never came back
	Tombstones int64

	Created           int64
	Commits           int64
	Unacked           int64 // commits not acknowledged in time
	Moves             int64 // logins and other changes of an id
	Invalidated       int64
	Expired           int64
	Evicted           int64 // newcomers ended here for want of room
	TombstonesEvicted int64 // invalidations forgotten for want of room
}

// TrafficStats is about the live payloads.
type TrafficStats struct {
	DeltasIn, DeltasOut int64
	FramesIn, FramesOut int64
	BytesIn, BytesOut   int64 // without the channel's framing
	Overflows           int64 // times a member lagged so far that changes were left to repair
	Resends             int64 // frames that were not acknowledged in time
	Malformed           int64 // messages or deltas that could not be read
	FarAhead            int64 // stamps refused for lying over 24 h in the future
}

// RepairStats is about repairs.
type RepairStats struct {
	Repairs        int64 // comparisons with a member that were completed
	Repaired       int64 // sessions that a repair changed here
	RepairBytesOut int64
}

// AskStats is about questions to members for single sessions.
type AskStats struct {
	Asks          int64 // questions asked
	AsksRefused   int64 // questions not asked or not answered, since their share was spent
	TokensRefused int64 // tokens that no member made for that session
	Stale         int64 // requests that may have seen less than their user had
}

// LinkStats is what is known about one incarnation of a member.
type LinkStats struct {
	ID         membership.ID
	Up         bool
	Queue      int           // changes not yet acknowledged by it
	Behind     time.Duration // how long the oldest change has been waiting for its acknowledgement, within a tick
	Held       int           // entries held in memory because of it
	Repaired   bool          // nothing is known to be missing here of what it has
	Repairing  bool
	RootDiffer bool // its digest differed from ours at its last heartbeat
	Sessions   uint64
}

// counters count since the node's start, for operators: nothing is decided by them.
type counters struct {
	sessions sessionCounters
	traffic  trafficCounters
	repair   repairCounters
	asks     askCounters
}

type sessionCounters struct {
	created, commits, unacked, moves, invalidated, expired, evicted atomic.Int64
}

type trafficCounters struct {
	deltasIn, deltasOut, framesIn, framesOut, bytesIn, bytesOut atomic.Int64
	overflows, resends, malformed, farAhead                     atomic.Int64
}

type repairCounters struct{ repairs, repaired, bytes atomic.Int64 }

type askCounters struct{ asked, refused, tokensRefused, stale atomic.Int64 }

func (n *sessionCounters) read() SessionStats {
	return SessionStats{
		Created: n.created.Load(), Commits: n.commits.Load(), Unacked: n.unacked.Load(), Moves: n.moves.Load(),
		Invalidated: n.invalidated.Load(), Expired: n.expired.Load(), Evicted: n.evicted.Load(),
	}
}

func (n *trafficCounters) read() TrafficStats {
	return TrafficStats{
		DeltasIn: n.deltasIn.Load(), DeltasOut: n.deltasOut.Load(),
		FramesIn: n.framesIn.Load(), FramesOut: n.framesOut.Load(),
		BytesIn: n.bytesIn.Load(), BytesOut: n.bytesOut.Load(),
		Overflows: n.overflows.Load(), Resends: n.resends.Load(),
		Malformed: n.malformed.Load(), FarAhead: n.farAhead.Load(),
	}
}

func (n *repairCounters) read() RepairStats {
	return RepairStats{Repairs: n.repairs.Load(), Repaired: n.repaired.Load(), RepairBytesOut: n.bytes.Load()}
}

func (n *askCounters) read() AskStats {
	return AskStats{
		Asks: n.asked.Load(), AsksRefused: n.refused.Load(),
		TokensRefused: n.tokensRefused.Load(), Stale: n.stale.Load(),
	}
}

// Stats takes a snapshot.
func (c *Core) Stats() Stats {
	s := Stats{
		Ready: c.Ready(), Pauses: int64(c.fence.pauses.Load()), SessionStats: c.stats.sessions.read(),
		TrafficStats: c.stats.traffic.read(), RepairStats: c.stats.repair.read(), AskStats: c.stats.asks.read(),
	}
	t := c.table.Counts()
	s.Sessions, s.Newcomers, s.Tombstones, s.TombstonesEvicted = t.Sessions, t.Newcomers, t.Tombstones, t.Evicted
	head, now := c.log.head.Load(), time.Duration(c.fence.tickedAt.Load())
	for _, to := range c.peers.all() {
		l := to.lock()
		s.Links = append(s.Links, l.stats(now, head, &c.log.ages))
		l.unlock()
	}
	return s
}

// stats is of this link, for a log with that head.
func (l *locked) stats(now time.Duration, head uint64, ages *ages) LinkStats {
	s := LinkStats{
		ID: l.id, Up: l.up, Queue: int(head - min(head, l.out.Acked())), Held: l.held(),
		Repaired: l.in.Settled(), Repairing: l.repair.run != nil,
		RootDiffer: l.in.rootDiffer, Sessions: l.in.peer.Sessions,
	}
	if l.out.Acked() < head {
		s.Behind = ages.since(now, l.out.Acked())
	}
	return s
}

// held counts what the link remembers.
func (l *locked) held() int {
	return l.out.InFlight() + len(l.out.waiters) + l.in.Ahead() +
		len(l.repair.answers) + l.repair.push.len() + l.repair.want.len() +
		len(l.questions.asks) + len(l.questions.replies) + len(l.questions.large)
}
