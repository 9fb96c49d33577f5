package progress

// In is how far the frames of one member have been applied here.
//
// It holds at any time that
//
//   - all frames of the member's epoch below next are applied or void;
//   - none of the frames in ahead is below next, and next is not in it: frames that
//     are in there were applied out of order;
//   - all the member's own writes up to the watermark that were not left out are here. Those
//     that were left out are, too, if the epoch is settled by a repair.
type In struct {
	epoch     uint64            // of the latest frame; 0: none came
	skipped   bool              // the epoch began with changes that were left out, not with the link
	next      uint64            // 0: no frame came
	ahead     map[uint64]uint64 // frames applied out of order, and what they cover
	watermark uint64
	settled   uint64 // epoch when the last repair that was completed began
}

// NewIn is the state before the first frame.
func NewIn() In { return In{ahead: map[uint64]uint64{}} }

// Arrival says what is to be done with the deltas of a frame.
type Arrival struct {
	NewEpoch bool // the member has left changes out, or its first frame came
	Fresh    bool // its deltas are to be applied
	Again    bool // it must be acknowledged, or its sender must hear that it can't be yet
}

// Arrive takes note of a frame's header, before its deltas are applied. Frames of a
// former epoch are applied, and not counted.
func (p *In) Arrive(epoch, floor, seq uint64) (a Arrival) {
	if epoch > p.epoch {
		a.NewEpoch = true
		p.skipped, p.epoch = p.epoch != 0, epoch
		p.next, p.watermark = floor, 0
		clear(p.ahead)
	}
	if epoch < p.epoch {
		a.Fresh = seq > 0
		return a
	}
	if floor > p.next {
		p.next = floor
		p.drain()
	}
	if seq == 0 {
		return a
	}
	_, dup := p.ahead[seq]
	a.Again = dup || seq < p.next || seq > p.next+2*Window
	a.Fresh = !a.Again
	return a
}

// Applied takes note that the deltas of a new frame are in.
func (p *In) Applied(seq, watermark uint64) {
	p.ahead[seq] = watermark
	p.drain()
}

// drain moves next over all frames that are in.
func (p *In) drain() {
	for {
		watermark, ok := p.ahead[p.next]
		if !ok {
			break
		}
		delete(p.ahead, p.next)
		p.watermark = max(p.watermark, watermark)
		p.next++
	}
	for seq := range p.ahead {
		if seq < p.next {
			delete(p.ahead, seq)
		}
	}
}

// Whole tells whether nothing is missing of what a frame with this header was sent after.
func (p *In) Whole(epoch, floor uint64) bool { return epoch == p.epoch && floor <= p.next }

// Cover takes note that a frame without changes, of which nothing is missing, covers
// everything up to the stamp.
func (p *In) Cover(watermark uint64) { p.watermark = max(p.watermark, watermark) }

// Ack is the highest number so that all frames up to it are applied.
func (p *In) Ack() uint64 {
	if p.next == 0 {
		return 0
	}
	return p.next - 1
}

// Epoch is the member's epoch, 0 before its first frame.
func (p *In) Epoch() uint64 { return p.epoch }

// Skipped tells whether the epoch began with changes that were left out.
func (p *In) Skipped() bool { return p.skipped }

// Ahead is how many frames were applied out of order.
func (p *In) Ahead() int { return len(p.ahead) }

// Watermark is the stamp up to which all the member's writes have come, see Covered.
func (p *In) Watermark() uint64 { return p.watermark }

// Covered tells whether all the member's own writes up to the stamp are here.
func (p *In) Covered(clock uint64) bool { return p.Settled() && clock <= p.watermark }

// Settle takes note that a repair which began in that epoch is completed.
func (p *In) Settle(epoch uint64) { p.settled = epoch }

// Unsettle says that anything of what the member has may be missing here.
func (p *In) Unsettle() { p.settled = 0 }

// SettledEpoch is the epoch when the last repair that was completed began.
func (p *In) SettledEpoch() uint64 { return p.settled }

// Settled tells whether nothing is known to be missing here of what the member has.
func (p *In) Settled() bool { return p.epoch != 0 && p.settled == p.epoch }

// Behind tells whether something that the member has is known to be missing here.
func (p *In) Behind() bool { return p.settled != p.epoch }
