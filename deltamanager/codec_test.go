package deltamanager

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/nodeserver/nodeserver/deltamanager/internal/hostile"
	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	sessionv1 "github.com/nodeserver/nodeserver/proto/session/v1"
)

// The hand-written codec says what the generated one says: messages of random
// content go through both, both ways.

const testBoot = 77

func randomDelta(r *rand.Rand) table.Delta {
	d := table.Delta{Key: randomKey(r), Idle: time.Duration(r.IntN(1e6)) * time.Millisecond, Age: time.Duration(r.IntN(1e6)) * time.Millisecond}
	switch r.IntN(5) {
	case 0:
		d.Dead = true
		return d
	case 1:
		d.Expired = true
		return d
	case 2:
		d.Full = true
	}
	for i := range r.IntN(4) {
		reg := table.Register{ID: nameOf([]string{"", "n", "name", "föö"}[i]), Stamp: Stamp{Clock: uint64(1 + r.IntN(3)), Boot: testBoot}}
		if r.IntN(3) == 0 {
			reg.Stamp.Boot = 1 + r.Uint64N(9)
		}
		if r.IntN(4) > 0 {
			reg.Value = make([]byte, r.IntN(20))
			for j := range reg.Value {
				reg.Value[j] = byte(r.Uint32())
			}
		}
		d.Regs = append(d.Regs, reg)
	}
	return d
}

func randomKey(r *rand.Rand) (k Key) {
	for i := range k {
		k[i] = byte(r.Uint32())
	}
	return k
}

// generated is the delta as the generated code has it.
func generated(d *table.Delta) *sessionv1.Delta {
	m := &sessionv1.Delta{
		Key: d.Key[:], Clock: deltaClock(d), IdleMs: millis(d.Idle), AgeMs: millis(d.Age), Full: d.Full, Dead: d.Dead, Expired: d.Expired,
	}
	for _, r := range d.Regs {
		g := &sessionv1.Register{Name: r.Name(), Value: r.Value}
		if r.Stamp.Clock != deltaClock(d) {
			g.Clock = r.Stamp.Clock
		}
		if r.Stamp.Boot != testBoot {
			g.Boot = r.Stamp.Boot
		}
		m.Registers = append(m.Registers, g)
	}
	return m
}

func sameDelta(a, b table.Delta) bool {
	return a.Key == b.Key && a.Idle == b.Idle && a.Age == b.Age && a.Full == b.Full && a.Dead == b.Dead && a.Expired == b.Expired &&
		slices.EqualFunc(a.Regs, b.Regs, func(x, y table.Register) bool {
			return x.Name() == y.Name() && x.Stamp == y.Stamp && bytes.Equal(x.Value, y.Value) && (x.Value == nil) == (y.Value == nil)
		})
}

func TestFramesAreWhatTheSchemaSays(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		f := frame{
			seq: r.Uint64N(100), floor: r.Uint64N(100), ack: r.Uint64N(100), epoch: r.Uint64N(3), clock: r.Uint64N(1 << 40),
			covers: r.Uint64N(2), sentMS: r.Uint32(), ackNow: r.IntN(2) == 0,
		}
		if r.IntN(2) == 0 {
			f.beat = &beat{root: r.Uint64(), joining: r.IntN(2) == 0, repairing: r.IntN(2) == 0, sessions: r.Uint64N(1e6), repaired: r.Uint64N(3)}
			if r.IntN(2) == 0 {
				f.beat.key = agreedKey{r.Uint64N(3), TokenKey(randomKey(r))}
			}
			if f.beat.key.drawn == 2 {
				f.beat.former = TokenKey(randomKey(r))
			}
		}
		want := &sessionv1.Frame{
			Seq: f.seq, Floor: f.floor, Ack: f.ack, Epoch: f.epoch, Clock: f.clock, Covers: f.covers, SentMs: f.sentMS, AckNow: f.ackNow,
		}
		if f.beat != nil {
			want.Beat = &sessionv1.Beat{Root: f.beat.root, Joining: f.beat.joining, Repairing: f.beat.repairing, Sessions: f.beat.sessions, Repaired: f.beat.repaired}
			if f.beat.key != (agreedKey{}) {
				want.Beat.TokenKey, want.Beat.TokenKeyDrawn = f.beat.key.key[:], f.beat.key.drawn
			}
			if f.beat.former != (TokenKey{}) {
				want.Beat.TokenKeyFormer = f.beat.former[:]
			}
		}
		wire := f.appendHeader(nil)
		deltas := make([]table.Delta, r.IntN(3))
		for i := range deltas {
			deltas[i] = randomDelta(r)
			before := len(wire)
			wire = appendDelta(wire, 10, &deltas[i], testBoot)
			if got := len(wire) - before; got > 3+deltaSize(&deltas[i], testBoot)+4 {
				t.Fatalf("size says %d, encoded %d", deltaSize(&deltas[i], testBoot), got)
			}
			want.Deltas = append(want.Deltas, generated(&deltas[i]))
		}
		ask := askMessage{request: 1 + r.Uint64N(9), key: randomKey(r), state: r.Uint64N(2), since: r.Uint64N(2), held: strings.Repeat("x", table.HeldEntry*r.IntN(3))}
		wire = ask.append(wire)
		want.Asks = append(want.Asks, &sessionv1.Ask{Request: ask.request, Key: ask.key[:], State: ask.state, Since: ask.since, Held: []byte(ask.held)})
		answer := randomDelta(r)
		reply := replyMessage{request: 3, encoded: appendDelta(nil, 2, &answer, testBoot), refused: r.IntN(2) == 0}
		wire = reply.append(wire)
		want.Replies = append(want.Replies, &sessionv1.Reply{Request: 3, Delta: generated(&answer), Refused: reply.refused})

		var got sessionv1.Frame
		if err := proto.Unmarshal(wire, &got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(&got, want) {
			t.Fatalf("the generated code reads\n%v, want\n%v", &got, want)
		}
		wire, err := proto.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		read, err := parseFrame(wire)
		if err != nil {
			t.Fatal(err)
		}
		checkFrame(t, read, f, append(deltas, answer), ask)
	}
}

func checkFrame(t *testing.T, read, f frame, deltas []table.Delta, ask askMessage) {
	t.Helper()
	if read.seq != f.seq || read.floor != f.floor || read.ack != f.ack || read.epoch != f.epoch || read.clock != f.clock ||
		read.covers != f.covers || read.sentMS != f.sentMS || read.ackNow != f.ackNow || (read.beat == nil) != (f.beat == nil) || f.beat != nil && *read.beat != *f.beat {
		t.Fatalf("read %+v, want %+v", read, f)
	}
	raws := append(slices.Clone(read.deltas), read.replies[0].delta)
	for i, raw := range raws {
		d, err := parseDelta(raw, testBoot, new(table.Names), nil)
		if err != nil || !sameDelta(d, deltas[i]) {
			t.Fatalf("read %+v, %v, want %+v", d, err, deltas[i])
		}
	}
	if read.asks[0] != ask || read.replies[0].request != 3 {
		t.Fatalf("read %+v %+v", read.asks[0], read.replies[0])
	}
}

func TestRepairMessagesAreWhatTheSchemaSays(t *testing.T) {
	set := table.Set{}
	set.Add(3)
	set.Add(4095)
	sums := make([]byte, 16)
	listing := appendListing(nil, Key{1}, 9)
	d := randomDelta(rand.New(rand.NewPCG(3, 4)))
	for _, c := range []struct {
		ours repairMessage
		want *sessionv1.Repair
	}{
		{
			repairMessage{compare: &compareRequest{7, sums, set.Bytes()}},
			&sessionv1.Repair{Message: &sessionv1.Repair_Compare{Compare: &sessionv1.Compare{Request: 7, Sums: sums, Buckets: set.Bytes()}}},
		},
		{
			repairMessage{differ: &differReply{7, set.Bytes(), 5}},
			&sessionv1.Repair{Message: &sessionv1.Repair_Differ{Differ: &sessionv1.Differ{Request: 7, Buckets: set.Bytes(), Epoch: 5}}},
		},
		{
			repairMessage{fetch: &fetchRequest{7, []int{1, 4000}, listing, make([]byte, 32)}},
			&sessionv1.Repair{Message: &sessionv1.Repair_Fetch{Fetch: &sessionv1.Fetch{Request: 7, Buckets: []uint32{1, 4000}, Listing: listing, Keys: make([]byte, 32)}}},
		},
		{
			repairMessage{sessions: &sessionsReply{request: 7, encoded: appendDelta(nil, 2, &d, testBoot), wants: make([]byte, 16), done: 3, asks: []uint64{7, 1 << 40}, refused: true}},
			&sessionv1.Repair{Message: &sessionv1.Repair_Sessions{Sessions: &sessionv1.Sessions{Request: 7, Deltas: []*sessionv1.Delta{generated(&d)}, Wants: make([]byte, 16), Done: 3, Asks: []uint64{7, 1 << 40}, Refused: true}}},
		},
	} {
		c.ours.clock, c.want.Clock = 1<<40, 1<<40
		c.ours.sentMS, c.want.SentMs = 12, 12
		var got sessionv1.Repair
		if err := proto.Unmarshal(c.ours.encode(), &got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(&got, c.want) {
			t.Errorf("the generated code reads\n%v, want\n%v", &got, c.want)
		}
		wire, err := proto.MarshalOptions{Deterministic: true}.Marshal(c.want)
		if err != nil {
			t.Fatal(err)
		}
		read, err := parseRepair(wire)
		if err != nil {
			t.Fatal(err)
		}
		if c.ours.sessions != nil {
			read.sessions.encoded, read.sessions.deltas = c.ours.sessions.encoded, nil
		}
		if again := read.encode(); !bytes.Equal(again, c.ours.encode()) {
			t.Errorf("read and written again it differs:\n%x\n%x", again, c.ours.encode())
		}
	}
}

func wireSeeds(f *testing.F) {
	f.Helper()
	r := rand.New(rand.NewPCG(5, 6))
	for range 8 {
		d := randomDelta(r)
		h := frame{seq: 1, epoch: 1, clock: 1 << 40, beat: &beat{root: 4}}
		f.Add(appendDelta(h.appendHeader(nil), 10, &d, testBoot))
		m := repairMessage{sessions: &sessionsReply{request: 1, encoded: appendDelta(nil, 2, &d, testBoot)}}
		f.Add(m.encode())
	}
	f.Add(bytes.Repeat([]byte{0x52, 0}, 5000))
	f.Add(bytes.Repeat([]byte{0x1a, 0}, 5000))
	f.Add(bytes.Repeat([]byte{0x5a, 2, 8, 1}, 3000))
	f.Add(bytes.Repeat([]byte{0x62, 2, 8, 1}, 3000))
	q := repairMessage{fetch: &fetchRequest{1, []int{1}, appendListing(nil, Key{}, 1), make([]byte, 16)}}
	f.Add(q.encode())
	f.Add(bytes.Repeat([]byte{0x20, 0}, 5000))
}

func FuzzFrame(f *testing.F) {
	wireSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) { hostile.Survives(t, b, func() { _, _ = parseFrame(b) }) })
}

func FuzzDelta(f *testing.F) {
	wireSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		hostile.Survives(t, b, func() { _, _ = parseDelta(b, testBoot, new(table.Names), nil) })
	})
}

func FuzzRepair(f *testing.F) {
	wireSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) { hostile.Survives(t, b, func() { _, _ = parseRepair(b) }) })
}

// FuzzReceive gives a whole core what an authenticated member may send.
func FuzzReceive(f *testing.F) {
	wireSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		c := newCluster(t, 2)
		c.create(0, 1)
		for _, bulk := range [...]bool{false, true} {
			_ = c.cores[0].Receive(c.now, c.ids[1], bulk, b)
			c.cores[0].Tick(c.now)
			for range 20 {
				if c.cores[0].Pull(c.now, c.ids[1], bulk) == nil {
					break
				}
			}
		}
	})
}
