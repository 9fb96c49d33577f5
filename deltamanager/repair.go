package deltamanager

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	"github.com/nodeserver/nodeserver/deltamanager/internal/wire"
)

// repair is this node's comparison of all sessions with one member, and the
// exchange of what differs, both ways. It serves joins, healed splits, lost
// changes and digests that differ for whatever reason.
//
// It is driven by the side that began it; the other side only answers, and
// keeps nothing but the answers it owes. So any part of it may be lost: what was
// asked and not answered in time is asked again.
type repair struct {
	epoch   uint64 // the member's epoch that this repair settles
	confirm bool   // only what differs at two looks is exchanged
	shared  bool   // other donors are asked for other buckets at the same time
	compare bool   // sums are to be sent
	compAt  time.Duration
	todo    table.Set // differ, and have not been asked for
	pending []request
	fetched bool // lists were exchanged
	news    bool // and changed something here
}

// request is one message that waits for its answer.
type request struct {
	number  uint64
	at      time.Duration
	buckets []int // fetch; none: compare
	again   bool  // compares only what differed at the first look
}

const (
	askAgain   = 2 * time.Second // after which a request counts as lost
	secondLook = time.Second     // between the two looks of a repair that confirms
	donorGrace = 15 * time.Second
	maxAnswers = 16 // owed to one member; more requests are dropped and asked again
	maxPending = 8
	groupSize  = 64       // buckets in one fetch
	groupBytes = 32 << 10 // listing in one fetch
)

const maxFutile = 5

// answer makes a message that is owed to the member of a link.
type answer func(now time.Duration, l *locked) []byte

// repairer compares sessions with members, and exchanges what differs.
type repairer struct {
	*base
	applier    *applier
	answerer   *answerer
	assignment assignment
}

// stepRepair begins, drives or ends the repair with a member.
func (c *repairer) stepRepair(now time.Duration, with *link) {
	l := with.lock()
	wake := c.repairDue(now, l)
	l.unlock()
	if wake {
		c.group.Wake(l.id, true, true)
	}
}

// repairDue reports whether there is something to send.
func (c *repairer) repairDue(now time.Duration, l *locked) bool {
	if !l.up || !l.in.heard {
		return false
	}
	if l.repair.run != nil {
		return c.driveRepair(now, l)
	}
	behind := l.in.Epoch() != 0 && l.in.Behind()
	switch {
	case behind && c.myTurn(now, l):
		l.repair.run = &repair{shared: !c.fence.ready.Load(), compare: true}
	case !behind && now-l.repair.lookAt >= c.lookEvery(l):
		lead := c.cfg.Self.Compare(l.id) < 0 || now-l.repair.lookAt >= 2*c.lookEvery(l)
		if !lead {
			return false
		}
		l.repair.lookAt = now
		if !l.in.rootDiffer {
			return false
		}
		l.repair.run = &repair{confirm: true, compare: true}
	default:
		return false
	}
	return true
}

// lookEvery is the time between two looks at the roots. Where one side can't read what
// the other one has, they differ for ever: after two repairs without any effect here it
// doubles, up to sixteen times.
func (c *repairer) lookEvery(l *locked) time.Duration {
	return c.cfg.RepairInterval << max(0, l.repair.futile-1)
}

// myTurn tells whether this node begins the repair with a member it is behind
// of. One repair serves both, so the node that needs it more goes first: the
// joining one, else the one with the smaller id; the other one waits until that is over, and then
// mostly finds the roots equal. A member that is not behind of this node, since only
// it has left changes out, begins none.
func (c *repairer) myTurn(now time.Duration, l *locked) bool {
	joining := !c.fence.ready.Load()
	if joining != l.in.peer.Joining {
		return joining || now-l.repair.behindAt > donorGrace
	}
	return c.cfg.Self.Compare(l.id) < 0 || l.in.Skipped() && l.in.peer.Repaired == l.out.Epoch() ||
		!l.in.peer.Repairing && now-l.repair.behindAt >= secondLook
}

// driveRepair asks again what was not answered, and moves on.
func (c *repairer) driveRepair(now time.Duration, l *locked) bool {
	r := l.repair.run
	r.pending = slices.DeleteFunc(r.pending, func(q request) bool {
		if now-q.at < askAgain {
			return false
		}
		if q.buckets == nil {
			r.compare, r.compAt = true, now
		}
		for _, n := range q.buckets {
			r.todo.Add(n)
		}
		return true
	})
	c.settleRepair(l)
	return l.repair.run != nil && (r.compare && now >= r.compAt || !r.compare && !r.todo.Empty())
}

// settleRepair ends the repair when nothing is left to do. A shared one looks
// once more at all buckets first, since others have brought most of them.
func (c *repairer) settleRepair(l *locked) {
	r := l.repair.run
	if r.shared {
		done := c.assignment.finished()
		done.Each(r.todo.Drop)
	}
	if r.compare || len(r.pending) > 0 || !r.todo.Empty() {
		return
	}
	if r.shared {
		r.shared, r.compare = false, true
		return
	}
	l.in.Settle(r.epoch)
	l.repair.run, l.repair.distrust, l.out.heartbeatDue = nil, false, true
	l.in.rootDiffer = false // so said a heartbeat from before it
	if l.repair.futile = min(l.repair.futile+1, maxFutile); r.news || !r.fetched {
		l.repair.futile = 0
	}
	c.stats.repair.repairs.Add(1)
}

// pullBulk builds the next repair message for the member, or returns nil.
func (c *repairer) pullBulk(now time.Duration, to *link) []byte {
	l := to.lock()
	defer l.unlock()
	if !l.up {
		return nil
	}
	var m *wire.Repair
	switch {
	case len(l.repair.answers) > 0:
		next := l.repair.answers[0]
		l.repair.answers = l.repair.answers[1:]
		return next(now, l)
	case len(l.questions.large) > 0 && l.questions.spent[1].left(now, answerRate, answerBurst):
		m = c.answerer.answerLarge(now, l)
	case l.repair.push.len() > 0:
		var body []byte
		for l.repair.push.len() > 0 && len(body) < frameBytes {
			k := l.repair.push.take()
			if next := c.table.Successor(k); next != nil { // first, as in a batch: see encoder.successor
				body = c.appendWhole(body, wire.InSessions, now, *next)
			}
			body = c.appendWhole(body, wire.InSessions, now, k)
		}
		m = &wire.Repair{Sessions: &wire.Sessions{Encoded: body}}
	case l.repair.want.len() > 0:
		var keys []byte
		for l.repair.want.len() > 0 && len(keys) < 16<<10 {
			k := l.repair.want.take()
			keys = append(keys, k[:]...)
		}
		m = &wire.Repair{Fetch: &wire.Fetch{Keys: keys}}
	case l.repair.run != nil:
		m = c.nextRequest(now, l)
	}
	if m == nil {
		return nil
	}
	return c.finishRepair(now, m)
}

func (c *repairer) finishRepair(now time.Duration, m *wire.Repair) []byte {
	m.Clock = c.clock.Read()
	m.SentMS = uint32(c.clock.Physical(now) >> 16)
	b := m.Encode()
	c.stats.repair.bytes.Add(int64(len(b)))
	return b
}

// nextRequest is what the repair asks next.
func (c *repairer) nextRequest(now time.Duration, l *locked) *wire.Repair {
	r := l.repair.run
	switch {
	case len(r.pending) >= maxPending:
		return nil
	case r.compare && now >= r.compAt:
		r.compare = false
		return c.askCompare(now, l, r)
	case r.compare || r.todo.Empty():
		return nil
	}
	return c.askFetch(now, l, r)
}

func (c *repairer) askCompare(now time.Duration, l *locked, r *repair) *wire.Repair {
	l.requests++
	r.pending = append(r.pending, request{number: l.requests, at: now, again: !r.todo.Empty()})
	q := &wire.Compare{Request: l.requests}
	set := table.AllBuckets()
	if !r.todo.Empty() { // the second look
		set, q.Buckets = r.todo, r.todo.Bytes()
	}
	q.Sums = make([]byte, 0, 8*set.Count())
	set.Each(func(n int) {
		q.Sums = binary.LittleEndian.AppendUint64(q.Sums, c.table.Digest(n))
	})
	return &wire.Repair{Compare: q}
}

func (c *repairer) askFetch(now time.Duration, l *locked, r *repair) *wire.Repair {
	q := &wire.Fetch{Request: l.requests + 1}
	for n := r.todo.Next(0); n >= 0 && len(q.Buckets) < groupSize && len(q.Listing) < groupBytes; n = r.todo.After(n) {
		if r.shared && !c.assignment.take(n, l.id) {
			continue
		}
		r.todo.Drop(n)
		q.Buckets = append(q.Buckets, n)
		for k, state := range c.table.States(n) {
			q.Listing = wire.AppendListing(q.Listing, k, state)
		}
	}
	if len(q.Buckets) == 0 {
		return nil
	}
	l.requests++
	r.pending = append(r.pending, request{number: l.requests, at: now, buckets: q.Buckets})
	return &wire.Repair{Fetch: q}
}

// receiveBulk takes one repair message of the member.
func (c *repairer) receiveBulk(now time.Duration, from *link, payload []byte) error {
	m, err := wire.ParseRepair(payload)
	if err != nil {
		c.stats.traffic.malformed.Add(1)
		return err
	}
	if !c.clock.Observe(now, m.Clock) {
		c.stats.traffic.farAhead.Add(1)
		return errFarAhead(c.clock.Ahead(now, m.Clock))
	}
	l := from.lock()
	late := l.in.lag.Late(now, uint32(c.clock.Physical(now)>>16), m.SentMS)
	l.unlock()
	switch {
	case m.Compare != nil:
		c.owe(from, func(now time.Duration, l *locked) []byte { return c.answerCompare(now, l, m.Compare) })
	case m.Fetch != nil:
		c.owe(from, func(now time.Duration, _ *locked) []byte { return c.answerFetch(now, m.Fetch) })
	case m.Differ != nil:
		c.differs(now, from, m.Differ)
	case m.Sessions != nil:
		c.arrived(now, from, m.Sessions, late)
	}
	c.group.Wake(from.id, true, true)
	return nil
}

func (c *repairer) owe(to *link, a answer) {
	l := to.lock()
	defer l.unlock()
	if len(l.repair.answers) < maxAnswers {
		l.repair.answers = append(l.repair.answers, a)
	}
}

// differs takes the answer to a comparison.
func (c *repairer) differs(now time.Duration, from *link, a *wire.Differ) {
	l := from.lock()
	defer l.unlock()
	r := l.repair.run
	if r == nil {
		return
	}
	i := slices.IndexFunc(r.pending, func(q request) bool { return q.number == a.Request && q.buckets == nil })
	if i < 0 {
		return
	}
	if !r.pending[i].again { // else an epoch that began between the two looks would be settled by the second
		r.epoch = a.Epoch
	}
	r.pending = slices.Delete(r.pending, i, i+1)
	r.todo = table.Set{}
	if len(a.Buckets) > 0 {
		r.todo, _ = table.ParseSet(a.Buckets) // checked when it came
	}
	if r.confirm && !r.todo.Empty() {
		r.confirm, r.compare, r.compAt = false, true, now+secondLook
		return
	}
	c.settleRepair(l)
}

// arrived merges sessions that a repair brought.
func (c *repairer) arrived(now time.Duration, from *link, a *wire.Sessions, late time.Duration) {
	source := table.Listed
	if a.Request == 0 {
		source = table.Asked
	}
	news := false
	for _, raw := range a.Deltas {
		news = c.applier.applyRaw(now, from, raw, late, source) || news
	}
	l := from.lock()
	defer l.unlock()
	for _, n := range a.Asks {
		l.settleAsks(n, a.Refused)
	}
	wire.EachKey(a.Wants, l.repair.push.add)
	r := l.repair.run
	if r == nil {
		return
	}
	i := slices.IndexFunc(r.pending, func(q request) bool { return q.number == a.Request && q.buckets != nil })
	if i < 0 {
		return
	}
	r.fetched, r.news = true, r.news || news
	buckets := r.pending[i].buckets
	r.pending = slices.Delete(r.pending, i, i+1)
	done := min(a.Done, len(buckets))
	if done == 0 && !news {
		done = 1 // nothing of what came is wanted here: don't ask for it for ever
	}
	for _, n := range buckets[:done] {
		if r.shared {
			c.assignment.finish(n)
		}
	}
	for _, n := range buckets[done:] {
		r.todo.Add(n)
	}
	c.settleRepair(l)
}
