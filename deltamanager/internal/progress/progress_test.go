package progress

import (
	"math/rand/v2"
	"testing"
	"time"
)

// packet is a frame on its way: what the wire carries of it, and the changes in it.
type packet struct {
	epoch, floor, seq, watermark uint64
	from, to                     uint64
}

// wire is a sender, a receiver, and a network between them that loses, doubles and
// reorders; and, as a naive model of both, the set of what has really been applied.
type wire struct {
	t       *testing.T
	r       *rand.Rand
	out     Out
	in      In
	head    uint64 // the change at a position has the clock position+1
	starts  map[uint64]uint64
	applied map[uint64]bool // positions, at the receiver
	frames  map[uint64]bool // of the receiver's epoch
	numbers map[uint64]bool // ever used
	flying  []packet
	acks    []uint64
	epochs  uint64
}

func newWire(t *testing.T, seed uint64) *wire {
	t.Helper()
	w := &wire{
		t: t, r: rand.New(rand.NewPCG(seed, 3)), head: 5, epochs: 1, in: NewIn(), starts: map[uint64]uint64{1: 5},
		applied: map[uint64]bool{}, frames: map[uint64]bool{}, numbers: map[uint64]bool{},
	}
	w.out = NewOut(1, 7, w.head)
	return w
}

func (w *wire) send() {
	if w.out.Full() {
		return
	}
	from := w.out.Cursor()
	to := min(w.head, from+w.r.Uint64N(4))
	p := packet{epoch: w.out.Epoch(), from: from, to: to}
	p.seq, p.watermark = w.out.Send(0, to, w.head, w.head)
	p.floor = w.out.Floor()
	if w.numbers[p.seq] {
		w.t.Fatalf("frame number %d is used twice", p.seq)
	}
	w.numbers[p.seq] = true
	if p.watermark > to {
		w.t.Fatalf("a frame up to %d says it covers %d", to, p.watermark)
	}
	w.flying = append(w.flying, p)
}

// heartbeat is a frame without changes: it covers all if nothing is in flight.
func (w *wire) heartbeat() {
	p := packet{epoch: w.out.Epoch(), floor: w.out.Floor()}
	if w.out.InFlight() == 0 && w.out.Cursor() == w.head {
		p.watermark = w.head
	}
	w.flying = append(w.flying, p)
}

func (w *wire) deliver() {
	if len(w.flying) == 0 {
		return
	}
	i := w.r.IntN(len(w.flying))
	p := w.flying[i]
	if w.r.IntN(4) > 0 { // else it comes again
		w.flying = append(w.flying[:i], w.flying[i+1:]...)
	}
	before := w.in.Epoch()
	a := w.in.Arrive(p.epoch, p.floor, p.seq)
	if a.NewEpoch != (p.epoch > before) {
		w.t.Fatalf("epoch %d after %d: new is %v", p.epoch, before, a.NewEpoch)
	}
	if a.NewEpoch {
		clear(w.frames)
	}
	if a.Fresh {
		for pos := p.from; pos < p.to; pos++ {
			w.applied[pos] = true
		}
		if p.epoch == w.in.Epoch() {
			if w.frames[p.seq] {
				w.t.Fatalf("frame %d is fresh twice", p.seq)
			}
			w.frames[p.seq] = true
			w.in.Applied(p.seq, p.watermark)
		}
	}
	if p.seq == 0 && w.in.Whole(p.epoch, p.floor) {
		w.in.Cover(p.watermark)
	}
	w.acks = append(w.acks, w.in.Ack())
}

func (w *wire) acknowledge() {
	if len(w.acks) == 0 {
		return
	}
	i := w.r.IntN(len(w.acks))
	w.out.Acknowledge(w.acks[i])
	w.acks = append(w.acks[:i], w.acks[i+1:]...)
}

func (w *wire) skip() {
	w.epochs++
	w.starts[w.epochs] = w.head
	w.out.Skip(w.epochs, w.head)
}

func (w *wire) renew() {
	w.epochs++
	w.out.Renew(w.epochs)
	w.starts[w.epochs] = w.out.start
}

// check holds what is claimed against what has really been applied.
func (w *wire) check() {
	w.t.Helper()
	o, p := &w.out, &w.in
	if o.start > o.acked || o.acked > o.cursor || o.cursor > w.head {
		w.t.Fatalf("start %d, acked %d, cursor %d, head %d", o.start, o.acked, o.cursor, w.head)
	}
	for pos := o.start; pos < o.acked; pos++ {
		if !w.applied[pos] {
			w.t.Fatalf("%d is acknowledged and was not applied", pos)
		}
	}
	at, number := o.acked, o.floor
	for _, f := range o.sent {
		if f.from != at || f.seq != number {
			w.t.Fatalf("frames in flight %+v after %d from %d on", o.sent, o.acked, o.floor)
		}
		at, number = f.to, f.seq+1
	}
	if at != o.cursor || number != o.seq+1 {
		w.t.Fatalf("frames in flight %+v end before %d and %d", o.sent, o.cursor, o.seq)
	}
	if p.epoch == 0 {
		return
	}
	for pos := w.starts[p.epoch]; pos < p.watermark; pos++ {
		if !w.applied[pos] {
			w.t.Fatalf("%d is covered by %d and was not applied", pos, p.watermark)
		}
	}
	for seq := range p.ahead {
		if seq <= p.next || !w.frames[seq] {
			w.t.Fatalf("frames ahead of %d: %v", p.next, p.ahead)
		}
	}
}

func (w *wire) step() {
	switch n := w.r.IntN(100); {
	case n < 30:
		w.head += w.r.Uint64N(3)
	case n < 55:
		w.send()
	case n < 62:
		w.heartbeat()
	case n < 85:
		w.deliver()
	case n < 96:
		w.acknowledge()
	case n < 98:
		w.out.Rewind()
	case n < 99 && w.r.IntN(4) == 0:
		w.skip()
	case n == 99 && w.r.IntN(4) == 0:
		w.renew()
	}
	w.check()
}

// What is acknowledged or covered has been applied, whatever the network does; and in the end,
// when it does nothing any more, all is.
func TestClaimsAreTrueOverABadNetwork(t *testing.T) {
	for seed := range uint64(300) {
		w := newWire(t, seed)
		for range 500 {
			w.step()
		}
		w.flying, w.acks = nil, nil // lost
		w.out.Rewind()
		for w.out.Cursor() < w.head {
			w.send()
			for len(w.flying) > 0 {
				w.deliver()
			}
			w.out.Acknowledge(w.in.Ack())
			w.check()
		}
		w.heartbeat()
		for len(w.flying) > 0 {
			w.deliver()
		}
		w.check()
		w.in.Settle(w.in.Epoch())
		if w.out.Acked() != w.head || w.out.InFlight() != 0 || !w.in.Covered(w.head) {
			t.Fatalf("seed %d: in the end %+v, %+v, head %d", seed, w.out, w.in, w.head)
		}
	}
}

func TestOnlyASettledEpochIsCovered(t *testing.T) {
	p := NewIn()
	if p.Settled() || p.Behind() || p.Ack() != 0 {
		t.Errorf("before the first frame: %+v", p)
	}
	p.Arrive(3, 10, 10)
	p.Applied(10, 99)
	if p.Settled() || !p.Behind() || p.Covered(1) || p.Ack() != 10 || p.Skipped() {
		t.Errorf("after one frame: %+v", p)
	}
	p.Settle(3)
	if !p.Covered(99) || p.Covered(100) {
		t.Errorf("after a repair: %+v", p)
	}
	if a := p.Arrive(4, 11, 0); !a.NewEpoch || a.Fresh || a.Again {
		t.Errorf("a heartbeat of a new epoch is %+v", a)
	}
	if p.Settled() || p.Covered(1) || !p.Skipped() {
		t.Errorf("after changes were left out: %+v", p)
	}
	p.Settle(4)
	if p.Unsettle(); p.Settled() {
		t.Errorf("unsettled: %+v", p)
	}
}

func TestFramesAreBoundedAndOverdue(t *testing.T) {
	o := NewOut(1, 0, 0)
	for i := range uint64(Window) {
		if o.Full() {
			t.Fatalf("full after %d", i)
		}
		o.Send(time.Duration(i)*time.Second, i+1, Window, 1)
	}
	if !o.Full() || !o.Overdue(2*time.Second, 2*time.Second) || o.Overdue(time.Second, 2*time.Second) {
		t.Errorf("full: %v", o.Full())
	}
	if !o.Acknowledge(1) || o.Acknowledge(1) || o.Full() || o.Overdue(2*time.Second, 2*time.Second) {
		t.Errorf("after an acknowledgement: %+v", o.sent[0])
	}
	p := NewIn()
	p.Arrive(1, 1, 0)
	if a := p.Arrive(1, 1, 2+2*Window); a.Fresh || !a.Again {
		t.Errorf("a frame far ahead is %+v", a)
	}
}
