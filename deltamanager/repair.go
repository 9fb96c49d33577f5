package deltamanager

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate"
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
	dealt   bool   // other donors are asked for other buckets at the same time
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

// deal shares out the buckets among the donors of a joining node.
type deal struct {
	mu   sync.Mutex
	by   map[int]*link
	done table.Set
}

func (d *deal) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.by)
	d.done = table.Set{}
}

// take claims the bucket for l; false: another donor has been asked for it.
func (d *deal) take(n int, l *link) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.by == nil {
		d.by = map[int]*link{}
	}
	if o := d.by[n]; o != nil && o != l {
		return false
	}
	d.by[n] = l
	return true
}

// finish says that the bucket has arrived.
func (d *deal) finish(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.by, n)
	d.done.Add(n)
}

func (d *deal) finished() table.Set {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.done
}

// release gives back what a donor was asked for.
func (d *deal) release(l *link) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for n, o := range d.by {
		if o == l && !mutate.Is(mutate.DonorForgotten) {
			delete(d.by, n)
		}
	}
}

// stepRepair begins, drives or ends the repair with a member.
func (c *Core) stepRepair(now time.Duration, l *link) {
	l.mu.Lock()
	wake := c.repairDue(now, l)
	l.mu.Unlock()
	if wake {
		c.group.Wake(l.id, true, true)
	}
}

// repairDue reports whether there is something to send. Called with l.mu held.
func (c *Core) repairDue(now time.Duration, l *link) bool {
	if !l.up || !l.in.heard {
		return false
	}
	if l.repair.run != nil {
		return c.driveRepair(now, l)
	}
	behind := l.in.Epoch() != 0 && l.in.Behind()
	switch {
	case behind && c.myTurn(now, l):
		l.repair.run = &repair{dealt: !c.ready.Load(), compare: true}
	case !behind && now-l.repair.lookAt >= c.lookEvery(l):
		lead := compareIDs(c.cfg.Self, l.id) < 0 || now-l.repair.lookAt >= 2*c.lookEvery(l)
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
// doubles, up to sixteen times. Called with l.mu held.
func (c *Core) lookEvery(l *link) time.Duration {
	return c.cfg.RepairInterval << max(0, l.repair.futile-1)
}

const maxFutile = 5

// myTurn tells whether this node begins the repair with a member it is behind
// of. One repair serves both, so the one that needs it more goes first: who
// joins, else the smaller id; the other one waits until that is over, and then
// mostly finds the roots equal. A member that is not behind of this node, since only
// it has left changes out, begins none.
func (c *Core) myTurn(now time.Duration, l *link) bool {
	joining := !c.ready.Load()
	if joining != l.in.peer.Joining {
		return joining || now-l.repair.behindAt > donorGrace
	}
	return compareIDs(c.cfg.Self, l.id) < 0 || l.in.Skipped() && l.in.peer.Repaired == l.out.Epoch() || !l.in.peer.Repairing && now-l.repair.behindAt >= secondLook
}

// driveRepair asks again what was not answered, and moves on.
func (c *Core) driveRepair(now time.Duration, l *link) bool {
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

// settleRepair ends the repair when nothing is left to do. A dealt one looks
// once more at all buckets first, since others have brought most of them.
// Called with l.mu held.
func (c *Core) settleRepair(l *link) {
	r := l.repair.run
	if r.dealt {
		done := c.deal.finished()
		done.Each(r.todo.Drop)
	}
	if r.compare || len(r.pending) > 0 || !r.todo.Empty() {
		return
	}
	if r.dealt {
		r.dealt, r.compare = false, true
		return
	}
	l.in.Settle(r.epoch)
	l.repair.run, l.repair.distrust, l.out.beatDue = nil, false, true
	l.in.rootDiffer = false // so said a beat from before it
	if l.repair.futile = min(l.repair.futile+1, maxFutile); r.news || !r.fetched {
		l.repair.futile = 0
	}
	c.stats.repairs.Add(1)
}

// pullBulk builds the next repair message for the member, or returns nil.
func (c *Core) pullBulk(now time.Duration, l *link) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.up {
		return nil
	}
	var m *wire.Repair
	switch {
	case len(l.repair.answers) > 0:
		answer := l.repair.answers[0]
		l.repair.answers = l.repair.answers[1:]
		return answer(now)
	case len(l.questions.large) > 0 && l.questions.spent[1].left(now, answerRate, answerBurst):
		m = c.answerLarge(now, l)
	case l.repair.push.len() > 0:
		var body []byte
		for l.repair.push.len() > 0 && len(body) < frameBytes {
			body = c.appendWhole(body, now, l.repair.push.take())
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

func (c *Core) finishRepair(now time.Duration, m *wire.Repair) []byte {
	m.Clock = c.clock.Read()
	m.SentMS = uint32(c.clock.Physical(now) >> 16)
	b := m.Encode()
	c.stats.repairBytes.Add(int64(len(b)))
	return b
}

// nextRequest is what the repair asks next. Called with l.mu held.
func (c *Core) nextRequest(now time.Duration, l *link) *wire.Repair {
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

func (c *Core) askCompare(now time.Duration, l *link, r *repair) *wire.Repair {
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

func (c *Core) askFetch(now time.Duration, l *link, r *repair) *wire.Repair {
	q := &wire.Fetch{Request: l.requests + 1}
	for n := r.todo.Next(0); n >= 0 && len(q.Buckets) < groupSize && len(q.Listing) < groupBytes; n = r.todo.After(n) {
		if r.dealt && !c.deal.take(n, l) {
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
func (c *Core) receiveBulk(now time.Duration, l *link, payload []byte) error {
	m, err := wire.ParseRepair(payload)
	if err != nil {
		c.stats.malformed.Add(1)
		return err
	}
	if !c.clock.Observe(now, m.Clock) {
		c.stats.farAhead.Add(1)
		return errFarAhead(c.clock.Ahead(now, m.Clock))
	}
	l.mu.Lock()
	late := l.in.lag.Late(now, uint32(c.clock.Physical(now)>>16), m.SentMS)
	l.mu.Unlock()
	switch {
	case m.Compare != nil:
		c.owe(l, func(now time.Duration) []byte { return c.answerCompare(now, l, m.Compare) })
	case m.Fetch != nil:
		c.owe(l, func(now time.Duration) []byte { return c.answerFetch(now, m.Fetch) })
	case m.Differ != nil:
		c.differs(now, l, m.Differ)
	case m.Sessions != nil:
		c.arrived(now, l, m.Sessions, late)
	}
	c.group.Wake(l.id, true, true)
	return nil
}

func (c *Core) owe(l *link, answer func(time.Duration) []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.repair.answers) < maxAnswers {
		l.repair.answers = append(l.repair.answers, answer)
	}
}

func (c *Core) answerCompare(now time.Duration, l *link, q *wire.Compare) []byte {
	set := table.AllBuckets()
	if len(q.Buckets) > 0 {
		set, _ = table.ParseSet(q.Buckets) // checked when it came
	}
	var differ table.Set
	sums := q.Sums
	set.Each(func(n int) {
		if c.table.Digest(n) != binary.LittleEndian.Uint64(sums) {
			differ.Add(n)
		}
		sums = sums[8:]
	})
	if n := differ.Next(0); n >= 0 && mutate.Is(mutate.RepairSkipsBucket) {
		differ.Drop(n)
	}
	return c.finishRepair(now, &wire.Repair{Differ: &wire.Differ{Request: q.Request, Buckets: differ.Bytes(), Epoch: l.out.Epoch()}})
}

// differs takes the answer to a comparison.
func (c *Core) differs(now time.Duration, l *link, a *wire.Differ) {
	l.mu.Lock()
	defer l.mu.Unlock()
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

// answerFetch ships what the asker lacks of the buckets, and says what is
// lacking here.
func (c *Core) answerFetch(now time.Duration, q *wire.Fetch) []byte {
	a := &wire.Sessions{Request: q.Request}
	theirs := wire.ParseListing(q.Listing)
	a.Encoded = make([]byte, 0, c.guess(q.Buckets))
	for _, n := range q.Buckets {
		if !c.answerBucket(now, n, theirs, q.Listing, a) {
			break
		}
		a.Done++
	}
	wire.EachKey(q.Keys, func(k Key) {
		if len(a.Encoded) < frameBytes {
			a.Encoded = c.appendWhole(a.Encoded, now, k)
		}
	})
	return c.finishRepair(now, &wire.Repair{Sessions: a})
}

// guess is how long an answer about all of these buckets is, more or less.
func (c *Core) guess(buckets []int) (size int) {
	const most, session = frameBytes + 16<<10, 160
	for _, n := range buckets {
		size += session * c.table.SessionsIn(n)
		if size >= most {
			return most
		}
	}
	return size
}

// answerBucket adds what differs in one bucket. False: the message is full.
func (c *Core) answerBucket(now time.Duration, n int, theirs map[Key]uint64, listing []byte, a *wire.Sessions) bool {
	b := c.table.LockAt(n)
	defer b.Unlock()
	for s := range b.All() {
		if len(a.Encoded) >= frameBytes {
			return false
		}
		hash, listed := theirs[s.Key]
		if listed && hash == s.State() || b.Expired(s, now) {
			continue
		}
		if listed {
			a.Wants = append(a.Wants, s.Key[:]...)
		}
		if hash != table.DeadHash {
			d := s.Full(now)
			a.Encoded = wire.AppendDelta(a.Encoded, 2, &d, c.cfg.Self.Incarnation)
		}
	}
	for _, k := range b.Dead() {
		if theirs[k] != table.DeadHash {
			d, _ := b.DeadDelta(now, k)
			a.Encoded = wire.AppendDelta(a.Encoded, 2, &d, c.cfg.Self.Incarnation)
		}
	}
	for ; len(listing) > 0; listing = listing[wire.ListingEntry:] {
		k := Key(listing[:16])
		if k.Bucket() == n && b.Session(k) == nil && !b.Buried(k) {
			a.Wants = append(a.Wants, k[:]...)
		}
	}
	return true
}

// appendWhole encodes all there is to say of a session, if anything.
func (c *Core) appendWhole(body []byte, now time.Duration, k Key) []byte {
	b := c.table.Lock(k)
	defer b.Unlock()
	d, ok := b.Whole(now, k)
	if !ok {
		return body
	}
	return wire.AppendDelta(body, 2, &d, c.cfg.Self.Incarnation)
}

// arrived merges sessions that a repair brought.
func (c *Core) arrived(now time.Duration, l *link, a *wire.Sessions, late time.Duration) {
	from := table.Listed
	if a.Request == 0 {
		from = table.Asked
	}
	news := false
	for _, raw := range a.Deltas {
		news = c.applyRaw(now, l, raw, late, from) || news
	}
	l.mu.Lock()
	defer l.mu.Unlock()
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
		if r.dealt {
			c.deal.finish(n)
		}
	}
	for _, n := range buckets[done:] {
		r.todo.Add(n)
	}
	c.settleRepair(l)
}

func errFarAhead(d time.Duration) error {
	return fmt.Errorf("%w: stamped %v in the future", wire.ErrMalformed, d.Round(time.Second))
}

// keyQueue is a FIFO of keys without doubles. What does not fit is left out:
// digests will show it.
type keyQueue struct {
	keys []Key
	in   map[Key]struct{}
}

const maxKeyQueue = 1 << 16

func (q *keyQueue) len() int { return len(q.keys) }

func (q *keyQueue) add(k Key) {
	if _, ok := q.in[k]; ok || len(q.keys) >= maxKeyQueue {
		return
	}
	if q.in == nil {
		q.in = make(map[Key]struct{})
	}
	q.in[k] = struct{}{}
	q.keys = append(q.keys, k)
}

func (q *keyQueue) take() Key {
	k := q.keys[0]
	q.keys = q.keys[1:]
	delete(q.in, k)
	if len(q.keys) == 0 {
		q.keys = nil
	}
	return k
}
