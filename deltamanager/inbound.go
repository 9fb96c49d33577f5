package deltamanager

import (
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/progress"
	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	"github.com/nodeserver/nodeserver/deltamanager/internal/wire"
)

// receiver takes the frames of members.
type receiver struct {
	*base
	applier  *applier
	repairer *repairer
	answerer *answerer
}

// receiveLive applies one frame of the member.
func (c *receiver) receiveLive(now time.Duration, from *link, payload []byte) error {
	f, err := wire.ParseFrame(payload)
	if err != nil {
		c.stats.traffic.malformed.Add(1)
		return err
	}
	if !c.clock.Observe(now, f.Clock) {
		c.stats.traffic.farAhead.Add(1)
		return errFarAhead(c.clock.Ahead(now, f.Clock))
	}
	if f.Heartbeat != nil {
		c.keys.Learn(now, f.Heartbeat.Key, f.Heartbeat.Former)
	}
	c.stats.traffic.framesIn.Add(1)
	c.stats.traffic.bytesIn.Add(int64(len(payload)))
	first, late := c.admit(now, from, &f)
	if first {
		c.applyFrame(now, from, &f, late)
	}
	due := c.applied(now, from, &f, first)
	if c.answerer.questions(now, from, &f, late) || due {
		c.group.Wake(from.id, false, true)
	}
	if f.Heartbeat != nil {
		c.repairer.stepRepair(now, from)
	}
	return nil
}

// admit takes note of the frame's header. It reports whether the deltas are to
// be applied (they were not yet), and how much later than usual the frame came.
func (c *receiver) admit(now time.Duration, from *link, f *wire.Frame) (first bool, late time.Duration) {
	l := from.lock()
	defer l.unlock()
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

func (c *receiver) applyFrame(now time.Duration, from *link, f *wire.Frame, late time.Duration) {
	for _, raw := range f.Deltas {
		c.applier.applyRaw(now, from, raw, late, table.Live)
	}
}

// applied takes note that the frame's deltas are in. It reports whether an ack
// must go out at once.
func (c *receiver) applied(now time.Duration, from *link, f *wire.Frame, first bool) bool {
	l := from.lock()
	defer l.unlock()
	if f.Heartbeat != nil {
		joined := l.in.heard && l.in.peer.Joining && !f.Heartbeat.Joining
		l.in.peer, l.in.heard = *f.Heartbeat, true
		if l.out.strange && f.Heartbeat.Sessions > 0 {
			l.out.clean = 0 // it has sessions, and for how long is not known
		}
		l.out.strange = false
		if l.out.unannounced && !f.Heartbeat.Joining {
			l.out.unannounced = false
			c.touches.missed(l.out.clean)
		}
		if joined && !c.fence.ready.Load() {
			l.in.Unsettle() // it has more now than when this node, which joins as well, compared
		}
		l.in.rootDiffer = f.Heartbeat.Root != c.table.Root()
		if !l.in.rootDiffer {
			l.repair.futile = 0
		}
		if !l.in.rootDiffer && !l.repair.distrust && l.in.Whole(f.Epoch, f.Floor) && l.in.Behind() {
			l.in.Settle(l.in.Epoch())
			l.out.heartbeatDue = true // the member may wait to hear of it
		}
	}
	if f.Seq == 0 && l.in.Whole(f.Epoch, f.Floor) {
		l.in.Cover(f.Watermark)
	}
	defer l.settleAsks(0, false)
	if !first || f.Epoch != l.in.Epoch() {
		return l.out.ackDue || l.out.heartbeatDue
	}
	l.in.Applied(f.Seq, f.Watermark)
	l.in.unacked++
	if l.in.ackBy == 0 {
		l.in.ackBy = now + ackDelay
	}
	l.out.ackDue = l.out.ackDue || f.AckNow || l.in.unacked >= progress.Window/4
	return l.out.ackDue
}
