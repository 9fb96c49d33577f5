package deltamanager

import (
	"slices"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate"
	"github.com/nodeserver/nodeserver/deltamanager/internal/progress"
	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	"github.com/nodeserver/nodeserver/deltamanager/internal/wire"
	"github.com/nodeserver/nodeserver/membership"
)

// link is what the core knows about one life of one member, by protocol: the stream of
// changes to it and from it, the repair with it, and questions for single sessions.
type link struct {
	id membership.ID

	mu       sync.Mutex    // guards all below
	up       bool          // payloads can be sent
	gone     bool          // no longer among the core's links
	seenAt   time.Duration // when it was connected or heard last
	requests uint64        // number of the last request made

	out       outbound
	in        inbound
	repair    repairing
	questions questions
}

// outbound is the stream of this node's changes to one member.
type outbound struct {
	progress.Out
	clean   time.Duration // when all changes were applied there
	untold  bool          // of uses since clean: it gets to know the sessions first
	strange bool          // it was never heard of
	waiters []*Waiter
	beatDue bool
	ackDue  bool
	askAck  bool // somebody waits for a change that was sent without asking for its acknowledgement
	beatAt  time.Duration
}

// inbound is the stream of one member's changes to this node.
type inbound struct {
	progress.In
	unacked    int           // frames applied since an ack was sent
	ackBy      time.Duration // when an ack must go out at the latest; 0: none is owed
	lag        progress.Lag
	peer       wire.Beat     // its latest beat
	heard      bool          // a beat came since the link is up
	heardAt    time.Duration // when the latest frame came
	rootDiffer bool          // roots differed when the latest beat came
}

// repairing is what is done with one member to hold the same sessions.
type repairing struct {
	run      *repair // in progress; nil: none
	distrust bool    // beats may be old, held back by a pause: only an answer counts
	behindAt time.Duration
	lookAt   time.Duration                    // last look at the roots
	futile   int                              // repairs in a row that changed nothing here, since the roots were equal
	answers  []func(now time.Duration) []byte // owed, made when pulled
	push     keyQueue                         // sessions to send whole
	want     keyQueue                         // sessions to ask for whole
}

// questions are those for single sessions, to one member and from it.
type questions struct {
	asks    []ask // not answered, the last ones of them not sent
	unasked int
	replies []wire.Ask // to answer on the live stream
	large   []wire.Ask // to answer on the bulk stream
	spent   [2]budget  // of bytes of answers, live and bulk
}

func newLink(now time.Duration, id membership.ID, epoch, seq, head uint64) *link {
	return &link{id: id, seenAt: now, out: outbound{Out: progress.NewOut(epoch, seq, head), clean: now}, in: inbound{In: progress.NewIn()}}
}

// connected goes back to the first change that was not acknowledged: it may
// have been lost with the old stream. Called with l.mu held.
func (l *link) connected(now time.Duration) {
	l.up, l.in.heard, l.seenAt = true, false, now
	l.out.Rewind()
	l.out.beatDue, l.out.ackDue = true, true
	l.repair.behindAt = now
	l.repair.run, l.repair.futile = nil, 0
	l.repair.answers = nil
}

// skip leaves out all changes up to head: the member must repair. Called with
// l.mu held.
func (l *link) skip(epoch, head uint64) {
	l.out.Skip(epoch, head)
	l.loseWaiters()
}

// pullLive builds the next frame for the member, or returns nil.
func (c *Core) pullLive(now time.Duration, l *link) []byte {
	l.mu.Lock()
	large := len(l.questions.large)
	defer func() {
		wake := len(l.questions.large) > large
		l.mu.Unlock()
		if wake {
			c.group.Wake(l.id, true, true)
		}
	}()
	if !l.up {
		return nil
	}
	f := wire.Frame{Clock: c.clock.Read(), Ack: l.in.Ack(), SentMS: uint32(c.clock.Physical(now) >> 16)}
	var body []byte
	if !l.out.Full() {
		body = c.nextChanges(now, l, &f)
	}
	if body == nil && !l.out.beatDue && !l.out.ackDue && l.questions.unasked == 0 && !l.replyDue(now) {
		return nil
	}
	f.Epoch, f.Floor = l.out.Epoch(), l.out.Floor()
	if l.out.beatDue {
		f.Beat = &wire.Beat{Root: c.table.Root(), Joining: !c.ready.Load(), Repairing: l.repair.run != nil, Sessions: uint64(max(0, c.table.Sessions())), Repaired: l.in.SettledEpoch()}
		f.Beat.Key, f.Beat.Former = c.keys.Told(now)
		l.out.beatAt = now
		if body == nil && l.out.InFlight() == 0 && c.log.head.Load() == l.out.Cursor() || mutate.Is(mutate.CoversTooHigh) {
			f.Covers = f.Clock // all is sent and acknowledged
		}
	}
	l.out.beatDue, l.out.ackDue, l.in.unacked, l.in.ackBy = false, false, 0, 0
	out := f.AppendHeader(make([]byte, 0, 64+len(body)))
	out = append(out, body...)
	out = c.appendAsks(now, l, out)
	c.stats.framesOut.Add(1)
	c.stats.bytesOut.Add(int64(len(out)))
	return out
}

// nextChanges takes the changes from the cursor on into frame f. Called with
// l.mu held.
func (c *Core) nextChanges(now time.Duration, l *link, f *wire.Frame) []byte {
	batch := c.enc.encode(c, now, l.out.Cursor())
	if batch.overwritten {
		c.stats.overflows.Add(1)
		if mutate.Is(mutate.OverflowUnsaid) {
			l.skip(l.out.Epoch(), c.log.head.Load())
			return nil
		}
		l.skip(c.numbers.epochs.Add(1), c.log.head.Load())
		l.out.beatDue = true
		c.touches.missed(l.out.clean)
		return nil
	}
	if batch.to == l.out.Cursor() && !l.out.askAck {
		return nil
	}
	l.out.askAck = false
	f.Seq, f.Covers = l.out.Send(now, batch.to, batch.head, batch.clock)
	c.raiseSeqs(f.Seq)
	f.AckNow = len(l.out.waiters) > 0
	c.stats.deltasOut.Add(int64(batch.deltas))
	if batch.body == nil {
		return []byte{} // nothing is left to say of these changes; the frame's number is due all the same
	}
	return batch.body
}

// raiseSeqs keeps the highest frame number of all links, where new links begin.
func (c *Core) raiseSeqs(seq uint64) {
	for {
		old := c.numbers.seqs.Load()
		if seq <= old || c.numbers.seqs.CompareAndSwap(old, seq) {
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
	l.in.heardAt = now
	l.seenAt = now
	late = l.in.lag.Late(now, uint32(c.clock.Physical(now)>>16), f.SentMS)
	a := l.in.Arrive(f.Epoch, f.Floor, f.Seq)
	if a.NewEpoch {
		l.repair.behindAt = now
	}
	l.out.ackDue = l.out.ackDue || a.Again
	l.acknowledged(f.Ack)
	return a.Fresh, late
}

// acknowledged takes note of what the member has applied, and tells who waits.
func (l *link) acknowledged(ack uint64) {
	if l.out.Acknowledge(ack) {
		l.tellWaiters()
	}
}

// loseWaiters tells those who wait for this member that it will not confirm.
func (l *link) loseWaiters() {
	for _, w := range l.out.waiters {
		w.lose(l.gone)
	}
	l.out.waiters = nil
}

// tellWaiters tells those whose change has been applied, and drops those who
// no longer wait.
func (l *link) tellWaiters() {
	l.out.waiters = slices.DeleteFunc(l.out.waiters, func(w *Waiter) bool {
		if w.pos < l.out.Acked() {
			w.confirm(l.id)
		}
		return w.pos < l.out.Acked() || w.closed.Load()
	})
}

func (c *Core) applyFrame(now time.Duration, l *link, f *wire.Frame, late time.Duration) {
	for _, raw := range f.Deltas {
		c.applyRaw(now, l, raw, late, table.Live)
	}
}

// applyRaw applies one encoded delta and does what follows from it. A delta
// that can't be read is left out, alone: it must not keep others away. It reports whether
// the delta had news.
func (c *Core) applyRaw(now time.Duration, l *link, raw []byte, late time.Duration, from table.Source) (news bool) {
	var few [4]table.Register
	d, err := wire.ParseDelta(raw, l.id.Incarnation, &c.names, few[:])
	if err != nil || !c.observeDelta(now, &d) {
		c.stats.malformed.Add(1)
		return false
	}
	d.Idle += late
	d.Age += late
	v := c.apply(now, &d, from)
	c.stats.deltasIn.Add(1)
	if from != table.Live && v.Changed {
		c.stats.repaired.Add(1)
	}
	if !v.Dead && !v.Missing {
		return v.Changed
	}
	l.mu.Lock()
	if v.Dead {
		l.repair.push.add(d.Key)
	} else {
		l.repair.want.add(d.Key)
	}
	l.mu.Unlock()
	c.group.Wake(l.id, true, true)
	return v.Changed
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
		joined := l.in.heard && l.in.peer.Joining && !f.Beat.Joining
		l.in.peer, l.in.heard = *f.Beat, true
		if l.out.strange && f.Beat.Sessions > 0 {
			l.out.clean = 0 // it has sessions, for who knows how long
		}
		l.out.strange = false
		if l.out.untold && !f.Beat.Joining {
			l.out.untold = false
			c.touches.missed(l.out.clean)
		}
		if joined && !c.ready.Load() {
			l.in.Unsettle() // it has more now than when this node, which joins as well, compared
		}
		l.in.rootDiffer = f.Beat.Root != c.table.Root()
		if mutate.Is(mutate.CompareCounts) {
			l.in.rootDiffer = f.Beat.Sessions != uint64(c.table.Sessions())
		}
		if !l.in.rootDiffer {
			l.repair.futile = 0
		}
		if !l.in.rootDiffer && !l.repair.distrust && l.in.Whole(f.Epoch, f.Floor) && l.in.Behind() {
			l.in.Settle(l.in.Epoch())
			l.out.beatDue = true // the member may wait to hear of it
		}
	}
	if f.Seq == 0 && l.in.Whole(f.Epoch, f.Floor) {
		l.in.Cover(f.Covers)
	}
	defer l.settleAsks(0, false)
	if !fresh || f.Epoch != l.in.Epoch() {
		return l.out.ackDue || l.out.beatDue
	}
	l.in.Applied(f.Seq, f.Covers)
	l.in.unacked++
	if l.in.ackBy == 0 {
		l.in.ackBy = now + ackDelay
	}
	l.out.ackDue = l.out.ackDue || f.AckNow || l.in.unacked >= progress.Window/4
	return l.out.ackDue
}

// ackDelay is how long an acknowledgement nobody waits for may wait for a frame
// to ride on.
const ackDelay = 50 * time.Millisecond
