package deltamanager

import (
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/wire"
)

// sender makes the frames of this node's changes for each member.
type sender struct {
	*base
	answerer *answerer
	enc      encoder
}

// pullLive builds the next frame for the member, or returns nil.
func (c *sender) pullLive(now time.Duration, to *link) []byte {
	l := to.lock()
	large := len(l.questions.large)
	defer func() {
		wake := len(l.questions.large) > large
		l.unlock()
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
	if body == nil && !l.out.heartbeatDue && !l.out.ackDue && l.questions.unasked == 0 && !l.replyDue(now) {
		return nil
	}
	f.Epoch, f.Floor = l.out.Epoch(), l.out.Floor()
	if l.out.heartbeatDue {
		h := c.heartbeat(now, l)
		f.Heartbeat = &h
		l.out.heartbeatAt = now
		if body == nil && l.out.InFlight() == 0 && c.log.head.Load() == l.out.Cursor() {
			f.Watermark = f.Clock // all is sent and acknowledged
		}
	}
	l.out.heartbeatDue, l.out.ackDue, l.in.unacked, l.in.ackBy = false, false, 0, 0
	out := f.AppendHeader(make([]byte, 0, 64+len(body)))
	out = append(out, body...)
	out = c.answerer.appendAsks(now, l, out)
	c.stats.traffic.framesOut.Add(1)
	c.stats.traffic.bytesOut.Add(int64(len(out)))
	return out
}

// heartbeat is what this node says about itself.
func (c *sender) heartbeat(now time.Duration, l *locked) wire.Heartbeat {
	b := wire.Heartbeat{
		Root: c.table.Root(), Sessions: uint64(max(0, c.table.Sessions())), Joining: !c.fence.ready.Load(),
		Repairing: l.repair.run != nil, Repaired: l.in.SettledEpoch(),
	}
	b.Key, b.Former = c.keys.Announced(now)
	return b
}

// nextChanges takes the changes from the cursor on into frame f.
func (c *sender) nextChanges(now time.Duration, l *locked, f *wire.Frame) []byte {
	batch := c.enc.encode(c.base, now, l.out.Cursor())
	if batch.overwritten {
		c.stats.traffic.overflows.Add(1)
		l.skip(c.peers.epoch(), c.log.head.Load())
		l.out.heartbeatDue = true
		c.touches.missed(l.out.clean)
		return nil
	}
	if batch.to == l.out.Cursor() && !l.out.askAck {
		return nil
	}
	l.out.askAck = false
	f.Seq, f.Watermark = l.out.Send(now, batch.to, batch.head, batch.clock)
	c.peers.raiseSeqs(f.Seq)
	f.AckNow = len(l.out.waiters) > 0
	c.stats.traffic.deltasOut.Add(int64(batch.deltas))
	if batch.body == nil {
		return []byte{} // nothing is left to say of these changes; the frame's number is due all the same
	}
	return batch.body
}

// tickLink reports whether a frame is due.
func (c *sender) tickLink(now time.Duration, to *link) bool {
	l := to.lock()
	defer l.unlock()
	if !l.up {
		return false
	}
	l.tellWaiters()
	if l.out.Acked() == c.log.head.Load() && !l.out.unannounced && c.touches.over() {
		l.out.clean = now
	}
	if every := max(c.cfg.Heartbeat, 1); now/every != l.out.heartbeatAt/every { // at the same moments for all members
		l.out.heartbeatDue = true
	}
	if l.in.ackBy > 0 && now >= l.in.ackBy {
		l.out.ackDue = true
	}
	if l.out.Overdue(now, c.cfg.ResendAfter) {
		c.stats.traffic.resends.Add(1)
		l.out.Rewind()
		return true
	}
	return l.out.heartbeatDue || l.out.ackDue || l.replyDue(now)
}

// retouch logs uses that members may have missed, as fast as the log has room:
// it never makes a member lag so far that changes are left out.
func (c *sender) retouch() {
	if c.touches.over() {
		return
	}
	news := false
	for range Buckets / 16 {
		if !c.peers.roomy() {
			break
		}
		n, since := c.touches.take()
		if n >= Buckets {
			break
		}
		for _, k := range c.table.UsedSince(n, since) {
			c.log.publish(&change{pos: c.log.reserve(), key: k})
			news = true
		}
	}
	if news {
		c.peers.wakeAll(false)
	}
}
