package channel

import (
	"errors"
	"io"
	"time"
)

// receiver takes what comes from one peer in one class, as long as one link lasts.
type receiver struct {
	ch    *Channel
	k     *link
	class Class
	in    Incoming
	begun []byte // a payload of which only a part has come
}

// run reads the stream until it ends.
func (r *receiver) run() {
	for {
		m, err := r.in.Recv()
		switch {
		case errors.Is(err, io.EOF) && r.class == Bulk:
			return // the peer leaves; the rest comes on the live stream
		case errors.Is(err, io.EOF):
			r.k.abort(errEnded)
			return
		case err != nil:
			r.k.abort(err)
			return
		}
		r.k.peer.hear()
		switch {
		case m.Frame != nil:
			if !r.deliver(m.Frame) {
				return
			}
		case m.Heartbeat != nil:
			if m.Heartbeat.Topics != nil {
				if len(*m.Heartbeat.Topics) > maxTopics {
					r.k.abort(errProtocol)
					return
				}
				r.k.take(*m.Heartbeat.Topics)
			}
			r.heartbeat(m.Heartbeat)
		case m.Leave != nil:
			r.leave(m.Leave)
			return
		}
	}
}

// deliver hands payloads to their topics' handlers. A payload that comes before the handlers know
// of the link waits for that.
func (r *receiver) deliver(frame []Payload) bool {
	select {
	case <-r.k.up:
	case <-r.k.broken:
		return false
	}
	for _, p := range frame {
		if !r.whole(&p) {
			continue
		}
		if len(p.Data) > MaxPayload {
			r.k.abort(errProtocol)
			return false
		}
		r.k.receive(r.class, p)
	}
	return true
}

// whole joins the pieces of a payload; false means that there is more to come. A payload that is
// too long is not kept.
func (r *receiver) whole(p *Payload) bool {
	if r.begun != nil {
		p.Data, r.begun = append(r.begun, p.Data...), nil
	}
	if !p.More || len(p.Data) > MaxPayload {
		return true
	}
	r.begun = p.Data
	return false
}

// heartbeat notes what the peer announces of itself and of others.
func (r *receiver) heartbeat(h *Heartbeat) {
	r.ch.mu.Lock()
	defer r.ch.mu.Unlock()
	st, p := &r.ch.st, r.k.peer
	p.ready, p.draining = h.Ready, h.Draining
	st.apply(st.view.Announced(p.id, h.Ready, h.Draining))
	if h.Apps != nil {
		m := p.info
		m.Apps = *h.Apps
		if checkMember(m) == nil {
			p.info = m
			st.apply(st.view.Hosts(p.id, m.Apps))
		}
	}
	st.hints(h.Known)
}

// leave notes that the peer leaves in order.
func (r *receiver) leave(l *Leave) {
	r.ch.mu.Lock()
	defer r.ch.mu.Unlock()
	r.k.fail(errLeft)
	r.ch.st.apply(r.ch.st.view.Left(time.Now(), r.k.peer.id, l.Reason))
}
