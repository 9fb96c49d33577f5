package deltamanager

import (
	"slices"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate"
	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	"github.com/nodeserver/nodeserver/deltamanager/internal/wire"
	"github.com/nodeserver/nodeserver/membership"
)

// link is what the core knows about one life of one member: how far the log
// has been sent to it and acknowledged by it, how far its frames have been
// applied here, and a repair in progress.
type link struct {
	id membership.ID

	mu     sync.Mutex    // guards all below
	up     bool          // payloads can be sent
	seenAt time.Duration // when it was connected or heard last
	gone   bool          // no longer among the core's links

	// Sending.
	seq     uint64        // of the last frame; numbers are never used again, even by a later link
	floor   uint64        // frames below are void
	epoch   uint64        // counts the times changes were left out
	cursor  uint64        // log position of the next change to send
	start   uint64        // log position where the epoch began: changes below were left out
	acked   uint64        // log position: all changes from start to here are applied there
	clean   time.Duration // when all changes were
	untold  bool          // of uses since clean: it gets to know the sessions first
	strange bool          // it was never heard of
	sent    []sentFrame   // not yet acknowledged, oldest first
	mark    mark
	waiters []*Waiter
	beatDue bool
	ackDue  bool
	askAck  bool // somebody waits for a change that was sent without asking for its acknowledgement
	beatAt  time.Duration

	// Receiving.
	theirEpoch uint64
	skipped    bool              // theirEpoch began with changes that were left out, not with the link
	next       uint64            // all their frames below are applied or void
	ahead      map[uint64]uint64 // frames applied out of order, and what they cover
	covers     uint64            // all their writes up to this stamp are here, if repaired == theirEpoch
	unacked    int               // frames applied since an ack was sent
	ackBy      time.Duration     // when an ack must go out at the latest; 0: none is owed
	lag        lag
	peer       wire.Beat     // their latest beat
	heard      bool          // a beat came since the link is up
	heardAt    time.Duration // when the latest frame came
	rootDiffer bool          // roots differed when the latest beat came

	// Repair.
	distrust bool   // beats may be old, held back by a pause: only an answer counts
	repaired uint64 // theirEpoch when the last repair that was completed began
	behindAt time.Duration
	lookAt   time.Duration // last look at the roots
	futile   int           // repairs in a row that changed nothing here, since the roots were equal
	repair   *repair
	answers  []func(now time.Duration) []byte // owed, made when pulled
	asked    uint64                           // number of the last request made
	push     keyQueue                         // sessions to send whole
	want     keyQueue                         // sessions to ask for whole

	// Questions for single sessions.
	asks    []ask // not answered, the last ones of them not sent
	unasked int
	replies []wire.Ask // to answer on the live stream
	large   []wire.Ask // to answer on the bulk stream
	spent   [2]budget  // of bytes of answers, live and bulk
}

// sentFrame remembers what a frame held as a range of the log: not bytes, not
// keys. What was lost is sent again by going back to from.
type sentFrame struct {
	seq      uint64
	from, to uint64
	at       time.Duration
}

// mark says that once the cursor has passed pos, everything up to clock is covered.
type mark struct {
	pos, clock uint64
}

func newLink(now time.Duration, id membership.ID, epoch, seq, head uint64) *link {
	return &link{id: id, epoch: epoch, seq: seq, floor: seq + 1, cursor: head, start: head, acked: head, clean: now, seenAt: now, ahead: map[uint64]uint64{}}
}

// connected goes back to the first change that was not acknowledged: it may
// have been lost with the old stream. Called with l.mu held.
func (l *link) connected(now time.Duration) {
	l.up, l.heard, l.seenAt = true, false, now
	l.rewind()
	l.beatDue, l.ackDue = true, true
	l.behindAt = now
	l.repair, l.futile = nil, 0
	l.answers = nil
}

// rewind voids all frames in flight and sends their changes again.
func (l *link) rewind() {
	l.cursor = l.acked
	l.sent = l.sent[:0]
	l.floor = l.seq + 1
	l.mark = mark{}
}

// skip leaves out all changes up to head: the member must repair. Called with
// l.mu held.
func (l *link) skip(epoch, head uint64) {
	l.epoch = epoch
	l.cursor, l.start, l.acked = head, head, head
	l.sent = l.sent[:0]
	l.floor = l.seq + 1
	l.mark = mark{}
	l.loseWaiters()
}

// pullLive builds the next frame for the member, or returns nil.
func (c *Core) pullLive(now time.Duration, l *link) []byte {
	l.mu.Lock()
	large := len(l.large)
	defer func() {
		wake := len(l.large) > large
		l.mu.Unlock()
		if wake {
			c.group.Wake(l.id, true, true)
		}
	}()
	if !l.up {
		return nil
	}
	f := wire.Frame{Clock: c.clock.Read(), Ack: l.ackValue(), SentMS: uint32(c.clock.Physical(now) >> 16)}
	var body []byte
	if len(l.sent) < windowSent {
		body = c.nextChanges(now, l, &f)
	}
	if body == nil && !l.beatDue && !l.ackDue && l.unasked == 0 && !l.replyDue(now) {
		return nil
	}
	f.Epoch, f.Floor = l.epoch, l.floor
	if l.beatDue {
		f.Beat = &wire.Beat{Root: c.table.Root(), Joining: !c.ready.Load(), Repairing: l.repair != nil, Sessions: uint64(max(0, c.table.Sessions())), Repaired: l.repaired}
		f.Beat.Key, f.Beat.Former = c.keys.Told(now)
		l.beatAt = now
		if body == nil && len(l.sent) == 0 && c.log.head.Load() == l.cursor || mutate.Is(mutate.CoversTooHigh) {
			f.Covers = f.Clock // all is sent and acknowledged
		}
	}
	l.beatDue, l.ackDue, l.unacked, l.ackBy = false, false, 0, 0
	out := f.AppendHeader(make([]byte, 0, 64+len(body)))
	out = append(out, body...)
	out = c.appendAsks(now, l, out)
	c.stats.framesOut.Add(1)
	c.stats.bytesOut.Add(int64(len(out)))
	return out
}

// ackValue is the highest number so that all their frames up to it are applied.
func (l *link) ackValue() uint64 {
	if l.next == 0 {
		return 0
	}
	if mutate.Is(mutate.AckGaps) {
		for seq := range l.ahead {
			l.next = max(l.next, seq+1)
		}
	}
	return l.next - 1
}

// nextChanges takes the changes from the cursor on into frame f. Called with
// l.mu held.
func (c *Core) nextChanges(now time.Duration, l *link, f *wire.Frame) []byte {
	batch := c.enc.encode(c, now, l.cursor)
	if batch.overwritten {
		c.stats.overflows.Add(1)
		if mutate.Is(mutate.OverflowUnsaid) {
			l.skip(l.epoch, c.log.head.Load())
			return nil
		}
		l.skip(c.stats.epochs.Add(1), c.log.head.Load())
		l.beatDue = true
		c.touches.missed(l.clean)
		return nil
	}
	if batch.to == l.cursor && !l.askAck {
		return nil
	}
	l.askAck = false
	l.seq++
	c.raiseSeqs(l.seq)
	l.sent = append(l.sent, sentFrame{l.seq, l.cursor, batch.to, now})
	l.cursor = batch.to
	f.Seq = l.seq
	f.Covers = l.cover(batch)
	f.AckNow = len(l.waiters) > 0
	c.stats.deltasOut.Add(int64(batch.deltas))
	if batch.body == nil {
		return []byte{} // nothing is left to say of these changes; the frame's number is due all the same
	}
	return batch.body
}

// cover returns the stamp up to which everything has been sent with this batch,
// 0 when that can't be said. When the log is not drained, it becomes known once
// the cursor has passed where the log's head was.
func (l *link) cover(b batch) uint64 {
	if l.mark.pos == 0 || b.to >= b.head {
		l.mark = mark{b.head, b.clock}
	}
	if l.cursor < l.mark.pos {
		return 0
	}
	covered := l.mark.clock
	l.mark = mark{}
	return covered
}

// raiseSeqs keeps the highest frame number of all links, where new links begin.
func (c *Core) raiseSeqs(seq uint64) {
	for {
		old := c.stats.seqs.Load()
		if seq <= old || c.stats.seqs.CompareAndSwap(old, seq) {
			return
		}
	}
}

// receiveLive applies one frame of the member.
func (c *Core) receiveLive(now time.Duration, l *link, payload []byte) error {
	f, err := wire.ParseFrame(payload)
	if err != nil {
		c.stats.malformed.Add(1)
		return err
	}
	if !c.clock.Observe(now, f.Clock) {
		c.stats.farAhead.Add(1)
		return errFarAhead(c.clock.Ahead(now, f.Clock))
	}
	if f.Beat != nil {
		c.keys.Learn(now, f.Beat.Key, f.Beat.Former)
	}
	c.stats.framesIn.Add(1)
	c.stats.bytesIn.Add(int64(len(payload)))
	fresh, late := c.admit(now, l, &f)
	if fresh {
		c.applyFrame(now, l, &f, late)
	}
	due := c.applied(now, l, &f, fresh)
	if c.questions(now, l, &f, late) || due {
		c.group.Wake(l.id, false, true)
	}
	if f.Beat != nil {
		c.stepRepair(now, l)
	}
	return nil
}

// admit takes note of the frame's header. It reports whether the deltas are to
// be applied (they were not yet), and how much later than usual the frame came.
func (c *Core) admit(now time.Duration, l *link, f *wire.Frame) (fresh bool, late time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heardAt = now
	l.seenAt = now
	late = l.lag.late(now, uint32(c.clock.Physical(now)>>16), f.SentMS)
	if f.Epoch > l.theirEpoch {
		l.skipped, l.theirEpoch = l.theirEpoch != 0, f.Epoch
		l.next, l.covers = f.Floor, 0
		clear(l.ahead)
		l.behindAt = now
	}
	l.acknowledged(f.Ack)
	if f.Epoch < l.theirEpoch {
		return f.Seq > 0, late
	}
	if f.Floor > l.next {
		l.next = f.Floor
		l.drainAhead()
	}
	if f.Seq == 0 {
		return false, late
	}
	if _, dup := l.ahead[f.Seq]; dup || f.Seq < l.next || f.Seq > l.next+2*windowSent {
		l.ackDue = true
		return false, late
	}
	return true, late
}

// acknowledged drops frames that the member has applied and tells who waits.
func (l *link) acknowledged(ack uint64) {
	n := 0
	for n < len(l.sent) && l.sent[n].seq <= ack {
		l.acked = max(l.acked, l.sent[n].to)
		if mutate.Is(mutate.AckNewest) {
			l.acked = l.cursor
		}
		n++
	}
	if n == 0 {
		return
	}
	l.sent = append(l.sent[:0], l.sent[n:]...)
	l.floor = l.seq + 1
	if len(l.sent) > 0 {
		l.floor = l.sent[0].seq
	}
	l.tellWaiters()
}

// loseWaiters tells those who wait for this member that it will not confirm.
func (l *link) loseWaiters() {
	for _, w := range l.waiters {
		w.lose(l.gone)
	}
	l.waiters = nil
}

// tellWaiters tells those whose change has been applied, and drops those who
// no longer wait.
func (l *link) tellWaiters() {
	l.waiters = slices.DeleteFunc(l.waiters, func(w *Waiter) bool {
		if w.pos < l.acked {
			w.confirm(l.id)
		}
		return w.pos < l.acked || w.closed.Load()
	})
}

func (c *Core) applyFrame(now time.Duration, l *link, f *wire.Frame, late time.Duration) {
	for _, raw := range f.Deltas {
		c.applyRaw(now, l, raw, late, table.Live)
	}
}

// applyRaw applies one encoded delta and does what follows from it. A delta
// that can't be read is left out, alone: it must not keep others away.
func (c *Core) applyRaw(now time.Duration, l *link, raw []byte, late time.Duration, from table.Source) {
	var few [4]table.Register
	d, err := wire.ParseDelta(raw, l.id.Boot, &c.names, few[:])
	if err != nil || !c.observeDelta(now, &d) {
		c.stats.malformed.Add(1)
		return
	}
	d.Idle += late
	d.Age += late
	v := c.apply(now, &d, from)
	c.stats.deltasIn.Add(1)
	if from != table.Live && v.Changed {
		c.stats.repaired.Add(1)
	}
	if !v.Dead && !v.Missing {
		return
	}
	l.mu.Lock()
	if v.Dead {
		l.push.add(d.Key)
	} else {
		l.want.add(d.Key)
	}
	l.mu.Unlock()
	c.group.Wake(l.id, true, true)
}

// observeDelta refuses stamps from the far future.
func (c *Core) observeDelta(now time.Duration, d *table.Delta) bool {
	for i := range d.Regs {
		if !c.clock.Observe(now, d.Regs[i].Stamp.Clock) {
			c.stats.farAhead.Add(1)
			return false
		}
	}
	return true
}

// applied takes note that the frame's deltas are in. It reports whether an ack
// must go out at once.
func (c *Core) applied(now time.Duration, l *link, f *wire.Frame, fresh bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.Beat != nil {
		joined := l.heard && l.peer.Joining && !f.Beat.Joining
		l.peer, l.heard = *f.Beat, true
		if l.strange && f.Beat.Sessions > 0 {
			l.clean = 0 // it has sessions, for who knows how long
		}
		l.strange = false
		if l.untold && !f.Beat.Joining {
			l.untold = false
			c.touches.missed(l.clean)
		}
		if joined && !c.ready.Load() {
			l.repaired = 0 // it has more now than when this node, which joins as well, compared
		}
		l.rootDiffer = f.Beat.Root != c.table.Root()
		if mutate.Is(mutate.CompareCounts) {
			l.rootDiffer = f.Beat.Sessions != uint64(c.table.Sessions())
		}
		if !l.rootDiffer {
			l.futile = 0
		}
		if !l.rootDiffer && !l.distrust && f.Epoch == l.theirEpoch && f.Floor <= l.next && l.repaired != l.theirEpoch {
			l.repaired, l.beatDue = l.theirEpoch, true // the member may wait to hear of it
		}
	}
	if f.Seq == 0 && f.Epoch == l.theirEpoch && f.Floor <= l.next {
		l.covers = max(l.covers, f.Covers)
	}
	defer l.settleAsks(0, false)
	if !fresh || f.Epoch != l.theirEpoch {
		return l.ackDue || l.beatDue
	}
	l.ahead[f.Seq] = f.Covers
	l.drainAhead()
	l.unacked++
	if l.ackBy == 0 {
		l.ackBy = now + ackDelay
	}
	l.ackDue = l.ackDue || f.AckNow || l.unacked >= windowSent/4
	return l.ackDue
}

// ackDelay is how long an acknowledgement nobody waits for may wait for a frame
// to ride on.
const ackDelay = 50 * time.Millisecond

// drainAhead moves next over all frames that are in.
func (l *link) drainAhead() {
	for {
		covers, ok := l.ahead[l.next]
		if !ok {
			break
		}
		delete(l.ahead, l.next)
		l.covers = max(l.covers, covers)
		l.next++
	}
	for seq := range l.ahead {
		if seq < l.next {
			delete(l.ahead, seq)
		}
	}
}
