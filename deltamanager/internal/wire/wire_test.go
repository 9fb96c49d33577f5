package wire_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/nodeserver/nodeserver/deltamanager/internal/hostile"
	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	"github.com/nodeserver/nodeserver/deltamanager/internal/token"
	"github.com/nodeserver/nodeserver/deltamanager/internal/wire"
	sessionv1 "github.com/nodeserver/nodeserver/proto/session/v1"
)

// The hand-written codec says what the generated one says: messages of random
// content go through both, both ways.

const testIncarnation = 77

func randomDelta(r *rand.Rand) table.Delta {
	d := table.Delta{
		Key:  randomKey(r),
		Idle: time.Duration(r.IntN(1e6)) * time.Millisecond,
		Age:  time.Duration(r.IntN(1e6)) * time.Millisecond,
	}
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
		reg := table.Register{
			ID:    nameID([]string{"", "n", "name", "föö"}[i]),
			Stamp: table.Stamp{Clock: uint64(1 + r.IntN(3)), Incarnation: testIncarnation},
		}
		if r.IntN(3) == 0 {
			reg.Stamp.Incarnation = 1 + r.Uint64N(9)
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

func randomKey(r *rand.Rand) (k table.Key) {
	for i := range k {
		k[i] = byte(r.Uint32())
	}
	return k
}

// generated is the delta as the generated code has it.
func generated(d *table.Delta) *sessionv1.Delta {
	m := &sessionv1.Delta{
		Key:     d.Key[:],
		Clock:   wire.DeltaClock(d),
		IdleMs:  wire.Millis(d.Idle),
		AgeMs:   wire.Millis(d.Age),
		Full:    d.Full,
		Dead:    d.Dead,
		Expired: d.Expired,
	}
	for _, r := range d.Regs {
		g := &sessionv1.Register{Name: r.Name(), Value: r.Value}
		if r.Stamp.Clock != wire.DeltaClock(d) {
			g.Clock = r.Stamp.Clock
		}
		if r.Stamp.Incarnation != testIncarnation {
			g.Incarnation = r.Stamp.Incarnation
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
		f := wire.Frame{
			Seq: r.Uint64N(100), Floor: r.Uint64N(100), Ack: r.Uint64N(100), Epoch: r.Uint64N(3), Clock: r.Uint64N(1 << 40),
			Watermark: r.Uint64N(2), SentMS: r.Uint32(), AckNow: r.IntN(2) == 0,
		}
		if r.IntN(2) == 0 {
			f.Heartbeat = &wire.Heartbeat{
				Root:      r.Uint64(),
				Joining:   r.IntN(2) == 0,
				Repairing: r.IntN(2) == 0,
				Sessions:  r.Uint64N(1e6),
				Repaired:  r.Uint64N(3),
			}
			if r.IntN(2) == 0 {
				f.Heartbeat.Key = token.AgreedKey{Drawn: r.Uint64N(3), Key: token.Key(randomKey(r))}
			}
			if f.Heartbeat.Key.Drawn == 2 {
				f.Heartbeat.Former = token.Key(randomKey(r))
			}
		}
		want := &sessionv1.Frame{
			Seq: f.Seq, Floor: f.Floor, Ack: f.Ack, Epoch: f.Epoch, Clock: f.Clock,
			Watermark: f.Watermark, SentMs: f.SentMS, AckNow: f.AckNow,
		}
		if f.Heartbeat != nil {
			want.Heartbeat = &sessionv1.Heartbeat{
				Root:      f.Heartbeat.Root,
				Joining:   f.Heartbeat.Joining,
				Repairing: f.Heartbeat.Repairing,
				Sessions:  f.Heartbeat.Sessions,
				Repaired:  f.Heartbeat.Repaired,
			}
			if f.Heartbeat.Key != (token.AgreedKey{}) {
				want.Heartbeat.TokenKey, want.Heartbeat.TokenKeyDrawn = f.Heartbeat.Key.Key[:], f.Heartbeat.Key.Drawn
			}
			if f.Heartbeat.Former != (token.Key{}) {
				want.Heartbeat.TokenKeyFormer = f.Heartbeat.Former[:]
			}
		}
		encoded := f.AppendHeader(nil)
		deltas := make([]table.Delta, r.IntN(3))
		for i := range deltas {
			deltas[i] = randomDelta(r)
			before := len(encoded)
			encoded = wire.AppendDelta(encoded, 10, &deltas[i], testIncarnation)
			if got := len(encoded) - before; got > 3+wire.DeltaSize(&deltas[i], testIncarnation)+4 {
				t.Fatalf("size says %d, encoded %d", wire.DeltaSize(&deltas[i], testIncarnation), got)
			}
			want.Deltas = append(want.Deltas, generated(&deltas[i]))
		}
		ask := wire.Ask{
			Request: 1 + r.Uint64N(9),
			Key:     randomKey(r),
			State:   r.Uint64N(2),
			Since:   r.Uint64N(2),
			Held:    strings.Repeat("x", table.HeldEntry*r.IntN(3)),
		}
		encoded = ask.Append(encoded)
		want.Asks = append(
			want.Asks,
			&sessionv1.Ask{Request: ask.Request, Key: ask.Key[:], State: ask.State, Since: ask.Since, Held: []byte(ask.Held)},
		)
		answer := randomDelta(r)
		reply := wire.Reply{Request: 3, Encoded: wire.AppendDelta(nil, 2, &answer, testIncarnation), Refused: r.IntN(2) == 0}
		encoded = reply.Append(encoded)
		want.Replies = append(want.Replies, &sessionv1.Reply{Request: 3, Delta: generated(&answer), Refused: reply.Refused})

		var got sessionv1.Frame
		if err := proto.Unmarshal(encoded, &got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(&got, want) {
			t.Fatalf("the generated code reads\n%v, want\n%v", &got, want)
		}
		encoded, err := proto.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		read, err := wire.ParseFrame(encoded)
		if err != nil {
			t.Fatal(err)
		}
		checkFrame(t, read, f, append(deltas, answer), ask)
	}
}

func checkFrame(t *testing.T, read, f wire.Frame, deltas []table.Delta, ask wire.Ask) {
	t.Helper()
	if read.Seq != f.Seq || read.Floor != f.Floor || read.Ack != f.Ack || read.Epoch != f.Epoch || read.Clock != f.Clock ||
		read.Watermark != f.Watermark || read.SentMS != f.SentMS || read.AckNow != f.AckNow ||
		(read.Heartbeat == nil) != (f.Heartbeat == nil) ||
		f.Heartbeat != nil && *read.Heartbeat != *f.Heartbeat {
		t.Fatalf("read %+v, want %+v", read, f)
	}
	raws := append(slices.Clone(read.Deltas), read.Replies[0].Delta)
	for i, raw := range raws {
		d, err := wire.ParseDelta(raw, testIncarnation, new(table.Names), nil)
		if err != nil || !sameDelta(d, deltas[i]) {
			t.Fatalf("read %+v, %v, want %+v", d, err, deltas[i])
		}
	}
	if read.Asks[0] != ask || read.Replies[0].Request != 3 {
		t.Fatalf("read %+v %+v", read.Asks[0], read.Replies[0])
	}
}

func TestRepairMessagesAreWhatTheSchemaSays(t *testing.T) {
	set := table.Set{}
	set.Add(3)
	set.Add(4095)
	sums := make([]byte, 16)
	listing := wire.AppendListing(nil, table.Key{1}, 9)
	d := randomDelta(rand.New(rand.NewPCG(3, 4)))
	for _, c := range []struct {
		ours wire.Repair
		want *sessionv1.Repair
	}{
		{
			wire.Repair{Compare: &wire.Compare{7, sums, set.Bytes()}},
			&sessionv1.Repair{Message: &sessionv1.Repair_Compare{Compare: &sessionv1.Compare{
				Request: 7, Sums: sums,
				Buckets: set.Bytes(),
			}}},
		},
		{
			wire.Repair{Differ: &wire.Differ{7, set.Bytes(), 5}},
			&sessionv1.Repair{Message: &sessionv1.Repair_Differ{Differ: &sessionv1.Differ{Request: 7, Buckets: set.Bytes(), Epoch: 5}}},
		},
		{
			wire.Repair{Fetch: &wire.Fetch{7, []int{1, 4000}, listing, make([]byte, 32)}},
			&sessionv1.Repair{Message: &sessionv1.Repair_Fetch{Fetch: &sessionv1.Fetch{
				Request: 7,
				Buckets: []uint32{1, 4000}, Listing: listing, Keys: make([]byte, 32),
			}}},
		},
		{
			wire.Repair{Sessions: &wire.Sessions{
				Request: 7, Encoded: wire.AppendDelta(nil, 2, &d, testIncarnation),
				Wants: make([]byte, 16), Done: 3, Asks: []uint64{7, 1 << 40}, Refused: true,
			}},
			&sessionv1.Repair{Message: &sessionv1.Repair_Sessions{Sessions: &sessionv1.Sessions{
				Request: 7,
				Deltas:  []*sessionv1.Delta{generated(&d)}, Wants: make([]byte, 16), Done: 3, Asks: []uint64{7, 1 << 40}, Refused: true,
			}}},
		},
	} {
		c.ours.Clock, c.want.Clock = 1<<40, 1<<40
		c.ours.SentMS, c.want.SentMs = 12, 12
		var got sessionv1.Repair
		if err := proto.Unmarshal(c.ours.Encode(), &got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(&got, c.want) {
			t.Errorf("the generated code reads\n%v, want\n%v", &got, c.want)
		}
		encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(c.want)
		if err != nil {
			t.Fatal(err)
		}
		read, err := wire.ParseRepair(encoded)
		if err != nil {
			t.Fatal(err)
		}
		if c.ours.Sessions != nil {
			read.Sessions.Encoded, read.Sessions.Deltas = c.ours.Sessions.Encoded, nil
		}
		if again := read.Encode(); !bytes.Equal(again, c.ours.Encode()) {
			t.Errorf("read and written again it differs:\n%x\n%x", again, c.ours.Encode())
		}
	}
}

func wireSeeds(f *testing.F) {
	f.Helper()
	r := rand.New(rand.NewPCG(5, 6))
	for range 8 {
		d := randomDelta(r)
		h := wire.Frame{Seq: 1, Epoch: 1, Clock: 1 << 40, Heartbeat: &wire.Heartbeat{Root: 4}}
		f.Add(wire.AppendDelta(h.AppendHeader(nil), 10, &d, testIncarnation))
		m := wire.Repair{Sessions: &wire.Sessions{Request: 1, Encoded: wire.AppendDelta(nil, 2, &d, testIncarnation)}}
		f.Add(m.Encode())
	}
	f.Add(bytes.Repeat([]byte{0x52, 0}, 5000))
	f.Add(bytes.Repeat([]byte{0x1a, 0}, 5000))
	f.Add(bytes.Repeat([]byte{0x5a, 2, 8, 1}, 3000))
	f.Add(bytes.Repeat([]byte{0x62, 2, 8, 1}, 3000))
	q := wire.Repair{Fetch: &wire.Fetch{1, []int{1}, wire.AppendListing(nil, table.Key{}, 1), make([]byte, 16)}}
	f.Add(q.Encode())
	f.Add(bytes.Repeat([]byte{0x20, 0}, 5000))
}

func FuzzFrame(f *testing.F) {
	wireSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) { hostile.Survives(t, b, func() { _, _ = wire.ParseFrame(b) }) })
}

func FuzzDelta(f *testing.F) {
	wireSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		hostile.Survives(t, b, func() { _, _ = wire.ParseDelta(b, testIncarnation, new(table.Names), nil) })
	})
}

func FuzzRepair(f *testing.F) {
	wireSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) { hostile.Survives(t, b, func() { _, _ = wire.ParseRepair(b) }) })
}

// nameID is a register's name.
func nameID(name string) *string { return new(table.Names).Of([]byte(name)) }

// What a delta may have of registers depends on its length, so that one of few bytes takes
// little memory, and one of a session that is over its limit is whole.
func TestRegistersOfADelta(t *testing.T) {
	stamp := table.Stamp{Clock: 1, Incarnation: testIncarnation}
	d := table.Delta{Key: table.Key{1}, Full: true, Regs: []table.Register{{Stamp: stamp, Value: []byte("auth")}}}
	for n := range 5 * table.MaxNames {
		d.Regs = append(d.Regs, table.Register{ID: nameID(strconv.Itoa(n)), Stamp: stamp})
	}
	field := wire.AppendDelta(nil, wire.InSessions, &d, testIncarnation)
	raw, _ := protowire.ConsumeBytes(field[1:])
	got, err := wire.ParseDelta(raw, testIncarnation, new(table.Names), nil)
	if err != nil || len(got.Regs) != len(d.Regs) {
		t.Errorf("%d of %d registers, %v", len(got.Regs), len(d.Regs), err)
	}
	_, err = wire.ParseDelta(bytes.Repeat([]byte{0x1a, 0}, 5000), testIncarnation, new(table.Names), nil)
	if !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("5000 registers of nothing: %v", err)
	}
}
