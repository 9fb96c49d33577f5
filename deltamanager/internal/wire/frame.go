// Package wire is what members say to each other about sessions, in types and in bytes:
// proto/session/v1, appended and read by hand, so that a delta costs no reflection and one
// copy. Tests hold it against the generated code. What is read is checked and bounded:
// no sender can make a node allocate much more than it sends.
package wire

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	"github.com/nodeserver/nodeserver/deltamanager/internal/token"
)

// Limits of what one message holds.
const (
	maxFetch     = 256  // buckets in a fetch that is answered
	MaxAsks      = 1024 // per member, both ways: beyond that questions are not asked, and not answered
	FrameReplies = 256  // answers in one frame
)

// Frame is session.v1.Frame without its deltas, which are read in place.
type Frame struct {
	Seq, Floor, Ack, Epoch uint64
	Clock, Watermark       uint64
	SentMS                 uint32
	AckNow                 bool
	Heartbeat              *Heartbeat
	Deltas                 [][]byte // encoded, part of the payload
	Asks                   []Ask
	Replies                []Reply
}

// Ask is session.v1.Ask: key or cookie hash.
type Ask struct {
	Request    uint64
	Key        table.Key
	CookieHash table.CookieHash
	State      uint64
	Since      uint64
	Held       string
}

// Reply is session.v1.Reply.
type Reply struct {
	Request uint64
	Encoded []byte // to send: the delta with its cookie hash; empty: not here
	Delta   []byte // received: the delta
	Refused bool   // there is no answer: too much was asked for
}

// Heartbeat is session.v1.Heartbeat.
type Heartbeat struct {
	Root      uint64
	Joining   bool
	Repairing bool
	Sessions  uint64
	Repaired  uint64
	Key       token.AgreedKey
	Former    token.Key
}

func appendVarint(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.VarintType)
	return protowire.AppendVarint(b, v)
}

func appendFixed64(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.Fixed64Type)
	return protowire.AppendFixed64(b, v)
}

func appendBytes(b []byte, num protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendBytes(b, v)
}

func millis(d time.Duration) uint64 { return uint64(max(0, d/time.Millisecond)) }

// duration reads milliseconds that another node wrote: never negative, never
// so large that sums overflow.
func duration(ms uint64) time.Duration {
	const limit = 100 * 365 * 24 * time.Hour
	return time.Duration(min(ms, uint64(limit/time.Millisecond))) * time.Millisecond
}

// AppendHeader encodes everything but the deltas.
func (f *Frame) AppendHeader(b []byte) []byte {
	b = appendVarint(b, 1, f.Seq)
	b = appendVarint(b, 2, f.Floor)
	b = appendVarint(b, 3, f.Ack)
	b = appendVarint(b, 4, f.Epoch)
	b = appendFixed64(b, 5, f.Clock)
	b = appendFixed64(b, 6, f.Watermark)
	b = appendVarint(b, 7, uint64(f.SentMS))
	b = appendVarint(b, 8, protowire.EncodeBool(f.AckNow))
	if f.Heartbeat != nil {
		var in [96]byte
		body := appendFixed64(in[:0], 1, f.Heartbeat.Root)
		body = appendVarint(body, 2, protowire.EncodeBool(f.Heartbeat.Joining))
		body = appendVarint(body, 3, protowire.EncodeBool(f.Heartbeat.Repairing))
		body = appendVarint(body, 4, f.Heartbeat.Sessions)
		body = appendVarint(body, 5, f.Heartbeat.Repaired)
		if k := &f.Heartbeat.Key; k.Key != (token.Key{}) {
			body = appendBytes(body, 6, k.Key[:])
			body = appendFixed64(body, 7, k.Drawn)
		}
		if f.Heartbeat.Former != (token.Key{}) {
			body = appendBytes(body, 8, f.Heartbeat.Former[:])
		}
		b = protowire.AppendTag(b, 9, protowire.BytesType)
		b = protowire.AppendBytes(b, body)
	}
	return b
}

// Fields of deltas: in a Frame, and in a repair's Sessions.
const (
	InFrame    protowire.Number = 10
	InSessions protowire.Number = 2
)

// AppendDelta encodes d as field num of a message. Registers written by that incarnation
// with the delta's clock carry no stamp of their own.
func AppendDelta(b []byte, num protowire.Number, d *table.Delta, incarnation uint64) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	body := DeltaSize(d, incarnation)
	b = protowire.AppendVarint(b, uint64(body))
	b = appendBytes(b, 1, d.Key[:])
	common := deltaClock(d)
	b = appendFixed64(b, 2, common)
	for i := range d.Regs {
		b = protowire.AppendTag(b, 3, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(registerSize(&d.Regs[i], common, incarnation)))
		b = appendRegister(b, &d.Regs[i], common, incarnation)
	}
	b = appendVarint(b, 4, millis(d.Idle))
	b = appendVarint(b, 5, millis(d.Age))
	b = appendVarint(b, 6, protowire.EncodeBool(d.Full))
	b = appendVarint(b, 7, protowire.EncodeBool(d.Dead))
	b = appendVarint(b, 8, protowire.EncodeBool(d.Expired))
	b = appendVarint(b, 9, protowire.EncodeBool(d.Returned))
	return appendVarint(b, 10, protowire.EncodeBool(d.Moved))
}

// deltaClock is a tombstone's rank, or the clock that registers don't repeat.
func deltaClock(d *table.Delta) uint64 {
	if len(d.Regs) == 0 {
		return d.Rank
	}
	return d.Regs[0].Stamp.Clock
}

func varintField(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + protowire.SizeVarint(v)
}

// DeltaSize is how long appendDelta makes the message, without its cookie hash.
func DeltaSize(d *table.Delta, incarnation uint64) int {
	common := deltaClock(d)
	n := 1 + protowire.SizeBytes(len(d.Key)) + varintField(millis(d.Idle)) + varintField(millis(d.Age))
	if common != 0 {
		n += 9
	}
	for _, flag := range [...]bool{d.Full, d.Dead, d.Expired, d.Returned, d.Moved} {
		if flag {
			n += 2
		}
	}
	for i := range d.Regs {
		n += 1 + protowire.SizeBytes(registerSize(&d.Regs[i], common, incarnation))
	}
	return n
}

func registerSize(r *table.Register, common, incarnation uint64) int {
	n := 0
	if r.ID != nil {
		n += 1 + protowire.SizeBytes(len(*r.ID))
	}
	if r.Stamp.Clock != common {
		n += 9
	}
	if r.Stamp.Incarnation != incarnation {
		n += 9
	}
	if r.Value != nil {
		n += 1 + protowire.SizeBytes(len(r.Value))
	}
	return n
}

func appendRegister(b []byte, r *table.Register, common, incarnation uint64) []byte {
	if r.ID != nil {
		b = protowire.AppendTag(b, 1, protowire.BytesType)
		b = protowire.AppendString(b, *r.ID)
	}
	if r.Stamp.Clock != common {
		b = appendFixed64(b, 2, r.Stamp.Clock)
	}
	if r.Stamp.Incarnation != incarnation {
		b = appendFixed64(b, 3, r.Stamp.Incarnation)
	}
	if r.Value != nil {
		b = protowire.AppendTag(b, 4, protowire.BytesType)
		b = protowire.AppendBytes(b, r.Value)
	}
	return b
}

// ErrMalformed is the error of a message that no member can have sent.
var ErrMalformed = errors.New("malformed message")

// fields calls each with every field of b. Varints and fixed values come as v,
// bytes as data (a part of b).
func fields(b []byte, each func(num protowire.Number, v uint64, data []byte) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return ErrMalformed
		}
		b = b[n:]
		var v uint64
		var data []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			v, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			data, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return ErrMalformed
		}
		b = b[n:]
		if err := each(num, v, data); err != nil {
			return err
		}
	}
	return nil
}

// countFields counts how often a field occurs, as far as b can be read.
func countFields(b []byte, field protowire.Number) (n int) {
	for len(b) > 0 {
		num, _, size := protowire.ConsumeField(b)
		if size < 0 {
			return n
		}
		if num == field {
			n++
		}
		b = b[size:]
	}
	return n
}

// ParseFrame reads a frame. Its deltas are parts of b.
func ParseFrame(b []byte) (Frame, error) {
	f := Frame{Deltas: make([][]byte, 0, countFields(b, 10))}
	err := fields(b, func(num protowire.Number, v uint64, data []byte) error {
		switch num {
		case 1:
			f.Seq = v
		case 2:
			f.Floor = v
		case 3:
			f.Ack = v
		case 4:
			f.Epoch = v
		case 5:
			f.Clock = v
		case 6:
			f.Watermark = v
		case 7:
			f.SentMS = uint32(v)
		case 8:
			f.AckNow = v != 0
		case 9:
			if f.Heartbeat == nil {
				f.Heartbeat = new(Heartbeat)
			}
			return f.Heartbeat.parse(data)
		case 10:
			return appendRaw(&f.Deltas, data)
		case 11:
			if len(data) <= len(table.Key{}) || len(f.Asks) >= MaxAsks {
				return fmt.Errorf("%w: question", ErrMalformed)
			}
			f.Asks = append(f.Asks, Ask{})
			return f.Asks[len(f.Asks)-1].parse(data)
		case 12:
			if len(f.Replies) >= FrameReplies {
				return fmt.Errorf("%w: over %d answers", ErrMalformed, FrameReplies)
			}
			f.Replies = append(f.Replies, Reply{})
			return f.Replies[len(f.Replies)-1].parse(data)
		}
		return nil
	})
	return f, err
}

// appendRaw takes note of an encoded delta. Those too short to hold a key are
// refused, so that a message can't ask for much more memory than it has bytes.
func appendRaw(deltas *[][]byte, data []byte) error {
	if len(data) <= len(table.Key{}) {
		return fmt.Errorf("%w: delta of %d bytes", ErrMalformed, len(data))
	}
	*deltas = append(*deltas, data)
	return nil
}

func (p *Heartbeat) parse(b []byte) error {
	return fields(b, func(num protowire.Number, v uint64, data []byte) error {
		switch num {
		case 1:
			p.Root = v
		case 2:
			p.Joining = v != 0
		case 3:
			p.Repairing = v != 0
		case 4:
			p.Sessions = v
		case 5:
			p.Repaired = v
		case 6:
			return parseTokenKey(&p.Key.Key, data)
		case 7:
			p.Key.Drawn = v
		case 8:
			return parseTokenKey(&p.Former, data)
		}
		return nil
	})
}

func parseTokenKey(k *token.Key, b []byte) error {
	if copy(k[:], b) < len(k) || len(b) > len(k) {
		return fmt.Errorf("%w: key of %d bytes", ErrMalformed, len(b))
	}
	return nil
}

// Append encodes the question as a field of a frame.
func (a *Ask) Append(b []byte) []byte {
	body := appendVarint(nil, 1, a.Request)
	if a.Key != (table.Key{}) {
		body = appendBytes(body, 2, a.Key[:])
	} else {
		body = appendBytes(body, 3, a.CookieHash[:])
	}
	body = appendFixed64(body, 4, a.State)
	body = appendFixed64(body, 5, a.Since)
	if a.Held != "" {
		body = protowire.AppendTag(body, 6, protowire.BytesType)
		body = protowire.AppendString(body, a.Held)
	}
	return appendBytes(b, 11, body)
}

func (a *Ask) parse(b []byte) error {
	return fields(b, func(num protowire.Number, v uint64, data []byte) error {
		switch num {
		case 1:
			a.Request = v
		case 2:
			copy(a.Key[:], data)
		case 3:
			copy(a.CookieHash[:], data)
		case 4:
			a.State = v
		case 5:
			a.Since = v
		case 6:
			if len(data) > table.MaxHeld*table.HeldEntry || len(data)%table.HeldEntry != 0 {
				return fmt.Errorf("%w: %d bytes of what is held", ErrMalformed, len(data))
			}
			a.Held = string(data)
		}
		return nil
	})
}

// Append encodes the answer as a field of a frame.
func (r *Reply) Append(b []byte) []byte {
	body := append(appendVarint(nil, 1, r.Request), r.Encoded...)
	body = appendVarint(body, 3, protowire.EncodeBool(r.Refused))
	return appendBytes(b, 12, body)
}

func (r *Reply) parse(b []byte) error {
	return fields(b, func(num protowire.Number, v uint64, data []byte) error {
		switch num {
		case 1:
			r.Request = v
		case 2:
			r.Delta = data
		case 3:
			r.Refused = v != 0
		}
		return nil
	})
}

// ParseDelta reads one delta that the incarnation sent, with its registers
// in regs if that has room. Names and values are copied: nothing keeps the payload alive.
func ParseDelta(b []byte, incarnation uint64, n *table.Names, regs []table.Register) (table.Delta, error) {
	d := table.Delta{Regs: regs[:0]}
	var common uint64
	var has bool
	limit := maxRegisters(len(b))
	if n := min(countFields(b, 3), limit); n > cap(regs) {
		d.Regs = make([]table.Register, 0, n)
	}
	err := fields(b, func(num protowire.Number, v uint64, data []byte) error {
		switch num {
		case 1:
			has = len(data) == len(d.Key)
			copy(d.Key[:], data)
		case 2:
			common = v
		case 3:
			if len(d.Regs) >= limit {
				return fmt.Errorf("%w: over %d registers in %d bytes", ErrMalformed, limit, len(b))
			}
			r, err := parseRegister(data, incarnation, n)
			d.Regs = append(d.Regs, r)
			return err
		case 4:
			d.Idle = duration(v)
		case 5:
			d.Age = duration(v)
		case 6:
			d.Full = v != 0
		case 7:
			d.Dead = v != 0
		case 8:
			d.Expired = v != 0
		case 9:
			d.Returned = v != 0
		case 10:
			d.Moved = v != 0
		}
		return nil
	})
	if err == nil && !has {
		err = fmt.Errorf("%w: delta without a key", ErrMalformed)
	}
	if d.Dead {
		d.Rank = common
	}
	for i := range d.Regs {
		if d.Regs[i].Stamp.Clock == 0 {
			d.Regs[i].Stamp.Clock = common
		}
	}
	return d, err
}

// maxRegisters bounds the registers of a delta, and so the memory that one takes: beside
// table.MaxNames of them and the core's own two, each has a name of two bytes at least, as
// there are no more than 255 of one byte, and takes six bytes with it.
func maxRegisters(bytes int) int { return table.MaxNames + 2 + bytes/6 }

func parseRegister(b []byte, incarnation uint64, n *table.Names) (table.Register, error) {
	r := table.Register{Stamp: table.Stamp{Incarnation: incarnation}}
	err := fields(b, func(num protowire.Number, v uint64, data []byte) error {
		switch num {
		case 1:
			if len(data) > table.MaxName {
				return fmt.Errorf("%w: name of %d bytes", ErrMalformed, len(data))
			}
			r.ID = n.Of(data)
		case 2:
			r.Stamp.Clock = v
		case 3:
			r.Stamp.Incarnation = v
		case 4:
			r.Value = append(make([]byte, 0, len(data)), data...)
		}
		return nil
	})
	return r, err
}
