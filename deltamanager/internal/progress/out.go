package progress

import (
	"time"
)

// Window is how many frames may be sent and not yet acknowledged.
const Window = 256

// Out is how far this node's log has been sent to one member, and applied there.
// Positions are those of the log; a frame holds a range of them.
//
// It holds at any time that
//
//   - start ≤ acked ≤ cursor;
//   - all changes in [start, acked) are applied at the member;
//   - the frames in flight hold [acked, cursor), in order and without gaps, and their
//     numbers are floor, floor+1, … seq;
//   - without a frame in flight, floor is seq+1: all frames so far are applied or void.
//
// Changes below start were left out, or were made before the link: repair carries them.
type Out struct {
	seq    uint64 // of the last frame; numbers are never used again, even by a later Out
	floor  uint64 // frames below are applied or void
	epoch  uint64 // counts the times changes were left out
	cursor uint64 // next change to send
	start  uint64 // where the epoch began
	acked  uint64
	sent   []sentFrame // not yet acknowledged, oldest first
	mark   mark
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

// NewOut begins at the log's head, in an epoch that was never used, after the highest
// frame number that was used.
func NewOut(epoch, seq, head uint64) Out {
	return Out{epoch: epoch, seq: seq, floor: seq + 1, cursor: head, start: head, acked: head}
}

// Epoch counts the times changes were left out.
func (o *Out) Epoch() uint64 { return o.epoch }

// Floor is the number below which all frames are applied or void.
func (o *Out) Floor() uint64 { return o.floor }

// Seq is the number of the last frame.
func (o *Out) Seq() uint64 { return o.seq }

// Cursor is the position of the next change to send.
func (o *Out) Cursor() uint64 { return o.cursor }

// Acked is the position below which all changes that were not left out are applied.
func (o *Out) Acked() uint64 { return o.acked }

// LeftOut tells whether the change at pos comes to the member by repair only.
func (o *Out) LeftOut(pos uint64) bool { return pos < o.start }

// InFlight is how many frames are not acknowledged.
func (o *Out) InFlight() int { return len(o.sent) }

// Full tells whether no frame may be sent before one is acknowledged.
func (o *Out) Full() bool { return len(o.sent) >= Window }

// Overdue tells whether a frame has not been acknowledged for so long.
func (o *Out) Overdue(now, after time.Duration) bool {
	return len(o.sent) > 0 && now-o.sent[0].at >= after
}

// Rewind voids all frames in flight: their changes are to be sent again.
func (o *Out) Rewind() {
	o.cursor = o.acked
	o.sent = o.sent[:0]
	o.floor = o.seq + 1
	o.mark = mark{}
}

// Renew begins an epoch in which nothing is left out: the member is to compare itself.
func (o *Out) Renew(epoch uint64) {
	o.epoch = epoch
	o.Rewind()
}

// Skip leaves out all changes up to head: the member must repair.
func (o *Out) Skip(epoch, head uint64) {
	o.cursor, o.start, o.acked = head, head, head
	o.Renew(epoch)
}

// Send takes note of a frame with the changes from the cursor to to. The log's head was
// read after clock, so all writes up to clock lie below it. It returns the frame's number,
// and the stamp up to which everything has been sent with it, 0 when that can't be said:
// when the log is not drained, it becomes known once the cursor has passed where the
// head was.
func (o *Out) Send(now time.Duration, to, head, clock uint64) (seq, watermark uint64) {
	o.seq++
	o.sent = append(o.sent, sentFrame{o.seq, o.cursor, to, now})
	o.cursor = to
	if o.mark.pos == 0 || to >= head {
		o.mark = mark{head, clock}
	}
	if o.cursor < o.mark.pos {
		return o.seq, 0
	}
	watermark = o.mark.clock
	o.mark = mark{}
	return o.seq, watermark
}

// Acknowledge takes note that all frames up to that number are applied. It reports
// whether that was news.
func (o *Out) Acknowledge(ack uint64) bool {
	n := 0
	for n < len(o.sent) && o.sent[n].seq <= ack {
		o.acked = max(o.acked, o.sent[n].to)
		n++
	}
	if n == 0 {
		return false
	}
	o.sent = append(o.sent[:0], o.sent[n:]...)
	o.floor = o.seq + 1
	if len(o.sent) > 0 {
		o.floor = o.sent[0].seq
	}
	return true
}
