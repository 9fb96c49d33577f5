package channel

import (
	"errors"
	"io"
	"slices"
	"time"
)

// sender sends the payloads of the handlers for one member and class, as long as one link lasts. It
// pulls a payload when the stream can take it, so the stream's flow control is the only queue
// limit.
type sender struct {
	ch     *Channel
	k      *link
	class  Class
	out    Outgoing
	frame  []Payload
	held   []byte  // a payload, or the rest of one, for the next frame
	holder Payload // its topic
	first  int     // pair to pull from first

	sent          time.Time // of the latest message
	heartbeatSent time.Time
	known         uint64   // version of the member list announced last
	apps          []string // announced last
	offers        []Offer  // same
	timer         *time.Timer
	wait          *time.Timer // of a batch
}

func (k *link) send(class Class) {
	s := &sender{
		ch: k.ch, k: k, class: class, out: k.own.out[class], offers: k.sent,
		timer: time.NewTimer(k.ch.cfg.Heartbeat), wait: time.NewTimer(0),
	}
	defer s.timer.Stop()
	defer s.wait.Stop()
	err := s.run()
	if err != nil && !errors.Is(err, io.EOF) { // for EOF, the link's await gets the reason
		k.abort(err)
	}
}

func (s *sender) run() error {
	for {
		if err := s.drain(); err != nil {
			return err
		}
		select {
		case <-s.k.broken:
			return nil
		case <-s.k.leave:
			return s.leave()
		default:
		}
		s.rest()
	}
}

// drain sends frames until no handler has anything left.
func (s *sender) drain() error {
	for {
		if err := s.heartbeat(); err != nil {
			return err
		}
		more := s.fill()
		if len(s.frame) == 0 {
			return nil
		}
		if err := s.out.Send(Message{Frame: s.frame}); err != nil {
			return err
		}
		s.sent = time.Now()
		clear(s.frame)
		if !more || closed(s.k.broken) {
			return nil
		}
	}
}

// fill pulls payloads into the frame until the frame is full (more) or no handler has any. The
// topic after the one that filled the frame comes first the next time.
func (s *sender) fill() (more bool) {
	s.frame = s.frame[:0]
	bytes := 0
	if s.held != nil {
		if bytes = s.take(s.holder, s.held); s.held != nil {
			return true
		}
	}
	s.k.pairing.mu.RLock()
	defer s.k.pairing.mu.RUnlock()
	pairs := s.k.pairing.open
	for i := range pairs {
		at := (s.first + i) % len(pairs)
		t := pairs[at]
		as := Payload{Topic: t.topic.name, Number: t.out}
		for bytes < maxFrame {
			p := t.topic.h.Pull(t.peer, s.class)
			if p == nil {
				break
			}
			if len(p) > MaxPayload {
				s.ch.mu.say(warn("payload too large, dropped", "member", s.k.peer.id, "topic", as.Topic, "bytes", len(p)).
					seldom("large"))
				continue
			}
			if len(s.frame) > 0 && bytes+len(p) > maxFrame {
				s.held, s.holder, s.first = p, as, at
				return true
			}
			bytes += s.take(as, p)
			if s.held != nil {
				s.first = at
				return true
			}
		}
		if bytes >= maxFrame {
			s.first = (at + 1) % len(pairs)
			return true
		}
	}
	return false
}

// take puts a payload into the frame. The rest of a payload that is too long for one message is
// held, and goes into the next frame.
func (s *sender) take(as Payload, p []byte) (bytes int) {
	s.held = nil
	if len(p) > maxPiece {
		s.held, s.holder = p[maxPiece:], as
		p = p[:maxPiece]
	}
	as.Data, as.More = p, s.held != nil
	s.frame = append(s.frame, as)
	return len(p)
}

// rest waits for a wake, and for Config.BatchDelay if the wake is not urgent; for the time of the
// next heartbeat; or for the end of the link.
func (s *sender) rest() {
	var due <-chan time.Time
	announce := s.k.peer.announce
	if s.class == Live {
		s.timer.Reset(time.Until(s.due()))
		due = s.timer.C
	} else {
		announce = nil
	}
	wake := s.k.peer.wakes[s.class]
	select {
	case <-s.k.broken:
	case <-s.k.leave:
	case <-due:
	case <-announce:
		s.heartbeatSent = time.Time{}
	case <-wake.now:
	case <-wake.soon:
		s.batch(wake.now)
	}
}

// batch waits for more payloads to share the frame, until an urgent wake.
func (s *sender) batch(now bell) {
	if s.class == Bulk || s.ch.cfg.BatchDelay <= 0 {
		return
	}
	s.wait.Reset(s.ch.cfg.BatchDelay)
	select {
	case <-s.wait.C:
	case <-now:
	case <-s.k.broken:
	}
}

// due is the time of the next heartbeat: soon after the stream fell silent, and now and then on a
// busy one. Handlers that send frames as often as heartbeats have a moment more: then their frames
// are enough.
func (s *sender) due() time.Time {
	idle, busy := s.sent.Add(s.ch.cfg.Heartbeat*9/8), s.heartbeatSent.Add(busyHeartbeat)
	if busy.Before(idle) {
		return busy
	}
	return idle
}

func (s *sender) heartbeat() error {
	if s.class != Live || time.Now().Before(s.due()) {
		return nil
	}
	if err := s.out.Send(Message{Heartbeat: s.announcement()}); err != nil {
		return err
	}
	s.sent = time.Now()
	s.heartbeatSent = s.sent
	return nil
}

// announcement is what the next heartbeat carries. The known members and the apps are part of the
// first one and of those after a change; the topics of those after a change.
func (s *sender) announcement() *Heartbeat {
	topics := s.k.offers()
	s.ch.mu.Lock()
	defer s.ch.mu.Unlock()
	st := &s.ch.st
	h := &Heartbeat{Ready: st.ready, Draining: st.draining}
	if s.known != st.version || s.heartbeatSent.IsZero() {
		h.Known, s.known = st.known(), st.version
	}
	if !slices.Equal(s.apps, st.self.Apps) || s.heartbeatSent.IsZero() {
		apps := st.self.Apps
		h.Apps, s.apps = &apps, apps
	}
	if !slices.Equal(s.offers, topics) {
		h.Topics, s.offers = &topics, topics
	}
	return h
}

// leave ends the stream in order: bulk first, so that a peer which has read the leave has read
// everything.
func (s *sender) leave() error {
	if err := s.drain(); err != nil {
		return err
	}
	if s.class == Bulk {
		return s.out.CloseSend()
	}
	select {
	case <-s.k.bulkEnd:
	case <-s.k.broken:
		return nil
	}
	if err := s.drain(); err != nil {
		return err
	}
	if err := s.out.Send(Message{Leave: &Leave{Reason: "stopped in order"}}); err != nil {
		return err
	}
	return s.out.CloseSend()
}
