package deltamanager

import (
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// counters count since the node's start, for operators: nothing is decided by them.
type counters struct {
	created, commits, invalidated, expired atomic.Int64
	deltasIn, deltasOut                    atomic.Int64
	framesIn, framesOut                    atomic.Int64
	bytesIn, bytesOut, repairBytes         atomic.Int64
	overflows, resends                     atomic.Int64
	repairs, repaired                      atomic.Int64
	malformed, farAhead                    atomic.Int64
	unacked                                atomic.Int64
	asks, stale                            atomic.Int64
	evicted, moves                         atomic.Int64
	tokensRefused, asksRefused             atomic.Int64
}

// Stats is a snapshot. Counters count since the node's start.
type Stats struct {
	Sessions   int64
	Newcomers  int64 // those of them whose cookie never came back
	Tombstones int64
	Ready      bool

	Created, Commits, Invalidated, Expired int64
	DeltasIn, DeltasOut                    int64
	FramesIn, FramesOut                    int64
	BytesIn, BytesOut                      int64 // live payloads, without the channel's framing
	RepairBytesOut                         int64
	Overflows                              int64 // times a member lagged so far that changes were left to repair
	Resends                                int64 // frames that were not acknowledged in time
	Repairs                                int64 // comparisons with a member that were completed
	Repaired                               int64 // sessions that a repair changed here
	Malformed                              int64 // messages or deltas that could not be read
	FarAhead                               int64 // stamps refused for lying over 24 h in the future
	Pauses                                 int64 // times the process had not run for over 2 s
	Unacked                                int64 // commits not acknowledged in time
	Asks                                   int64 // questions to members for single sessions
	TokensRefused                          int64 // tokens that no member made for that session
	AsksRefused                            int64 // questions not asked or not answered, since their share was spent
	TombstonesEvicted                      int64 // invalidations forgotten for want of room
	Evicted                                int64 // newcomers ended here for want of room
	Moves                                  int64 // logins and other changes of an id
	Stale                                  int64 // requests that may have seen less than their user had

	Links []LinkStats
}

// LinkStats is what is known about one member's life.
type LinkStats struct {
	ID         membership.ID
	Up         bool
	Queue      int           // changes not yet acknowledged by it
	Behind     time.Duration // how long some change has been waiting for its acknowledgement
	Held       int           // entries held in memory because of it
	Repaired   bool          // nothing is known to be missing here of what it has
	Repairing  bool
	RootDiffer bool // its digest differed from ours at its last heartbeat
	Sessions   uint64
}

// behind is since when the member has not had all changes.
func (l *locked) behind(head uint64, now time.Duration) time.Duration {
	if l.out.Acked() >= head {
		return 0
	}
	return max(0, now-l.out.clean)
}

// held counts what the link remembers.
func (l *locked) held() int {
	return l.out.InFlight() + len(l.out.waiters) + l.in.Ahead() + len(l.repair.answers) + l.repair.push.len() + l.repair.want.len() + len(l.questions.asks) + len(l.questions.replies) + len(l.questions.large)
}

// Dump copies all sessions, by bucket and key. Sessions that have expired and
// were not swept yet are left out.
func (c *Core) Dump(now time.Duration) []Dump { return c.table.Dump(now) }

// Peek is Open without using the session.
func (c *Core) Peek(now time.Duration, tag Tag) (Info, bool) { return c.table.Peek(now, tag) }

// StampOf is the stamp of a session's register, zero if there is none.
func (c *Core) StampOf(k Key, name string) Stamp { return c.table.StampOf(k, name) }

// Dead tells whether the session is known here to have been invalidated.
func (c *Core) Dead(k Key) bool { return c.table.KnowsDead(k) }

// Proves tells whether a member made the token for the session with the tag, as far as
// this node knows the members' keys.
func (c *Core) Proves(tag Tag, t Token) bool { return c.keys.Proves(tag, &t) }

// Stats takes a snapshot.
func (c *Core) Stats() Stats {
	n, t := &c.stats, c.table.Counts()
	s := Stats{
		Sessions: t.Sessions, Newcomers: t.Newcomers, Tombstones: t.Tombstones, Ready: c.Ready(),
		Created: n.created.Load(), Commits: n.commits.Load(), Invalidated: n.invalidated.Load(), Expired: n.expired.Load(),
		DeltasIn: n.deltasIn.Load(), DeltasOut: n.deltasOut.Load(), FramesIn: n.framesIn.Load(), FramesOut: n.framesOut.Load(),
		BytesIn: n.bytesIn.Load(), BytesOut: n.bytesOut.Load(), RepairBytesOut: n.repairBytes.Load(),
		Overflows: n.overflows.Load(), Resends: n.resends.Load(), Repairs: n.repairs.Load(), Repaired: n.repaired.Load(),
		Malformed: n.malformed.Load(), FarAhead: n.farAhead.Load(), Pauses: int64(c.fence.pauses.Load()), Unacked: n.unacked.Load(),
		Asks: n.asks.Load(), Stale: n.stale.Load(), Evicted: n.evicted.Load(), Moves: n.moves.Load(), TombstonesEvicted: t.Evicted,
		TokensRefused: n.tokensRefused.Load(), AsksRefused: n.asksRefused.Load(),
	}
	head := c.log.head.Load()
	for _, to := range c.peers.all() {
		l := to.lock()
		s.Links = append(s.Links, LinkStats{
			ID: l.id, Up: l.up, Queue: int(head - min(head, l.out.Acked())),
			Repaired: l.in.Settled(), Repairing: l.repair.run != nil,
			Behind: l.behind(head, time.Duration(c.fence.beatAt.Load())), RootDiffer: l.in.rootDiffer, Sessions: l.in.peer.Sessions, Held: l.held(),
		})
		l.unlock()
	}
	return s
}

// Digest is the sum over all sessions and tombstones: equal digests mean equal
// state. For tests and operators.
func (c *Core) Digest() uint64 { return c.table.Root() }
