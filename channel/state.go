package channel

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// state is what changes in a Channel. Its methods are called with Channel.mu held, and so never
// wait for anything: they start goroutines for what takes time.
type state struct {
	ch      *Channel
	running context.Context //nolint:containedctx // of Run: dials and links start from calls of the transport, too
	stop    context.CancelCauseFunc
	stopped bool
	leaving bool

	self     membership.Member
	topics   map[string]*Topic
	ready    bool
	draining bool
	view     *membership.View
	peers    map[membership.ID]*peer
	names    map[string]*holder
	changed  chan struct{} // closed and replaced at each change of the member list
	version  uint64        // of the member list

	dialing dialing
	dialers map[string]*dialer // those that run, by address
}

func newState(ch *Channel, cfg Config) state {
	return state{
		ch:      ch,
		self:    cfg.Self,
		topics:  map[string]*Topic{},
		view:    membership.NewView(membership.Timing{SuspectAfter: cfg.SuspectAfter, DownAfter: cfg.DownAfter}),
		peers:   map[membership.ID]*peer{},
		names:   map[string]*holder{},
		changed: make(chan struct{}),
		dialing: newDialing(cfg),
		dialers: map[string]*dialer{},
	}
}

// spawn starts a goroutine that Run waits for, unless the channel has stopped.
func (s *state) spawn(f func()) {
	if !s.stopped && s.running != nil {
		s.ch.wg.Go(f)
	}
}

// halt breaks all links. Nothing new starts afterwards.
func (s *state) halt() {
	s.stopped = true
	for _, p := range s.peers {
		if p.link != nil {
			p.link.fail(errStopped)
		}
	}
}

func (s *state) say(l line) { s.ch.mu.add(time.Now(), l) }

// members is the member list, this node included, sorted by name.
func (s *state) members() []membership.Status {
	list := append(s.view.Members(), membership.Status{
		Member: s.self, State: membership.Alive, Ready: s.ready, Draining: s.draining,
	})
	slices.SortStableFunc(list, func(a, b membership.Status) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// known lists the members to announce to others.
func (s *state) known() []membership.Member {
	var list []membership.Member
	for _, m := range s.view.Members() {
		if m.State != membership.Gone && len(list) < maxKnown {
			list = append(list, m.Member)
		}
	}
	return list
}

func (s *state) hello() Hello {
	cfg := &s.ch.cfg
	return Hello{Cluster: cfg.Cluster, WireMin: WireMin, WireMax: WireMax, Self: s.self, Known: s.known()}
}

// notify wakes the watchers of the member list.
func (s *state) notify() {
	s.version++
	close(s.changed)
	s.changed = make(chan struct{})
}

// apply carries out what the view asks for.
func (s *state) apply(step membership.Step) {
	if s.stopped {
		return
	}
	for _, ch := range step.Changes {
		s.say(changed(ch))
		if ch.State == membership.Gone {
			s.bury(ch.ID)
		}
	}
	if len(step.Changes) > 0 {
		s.notify()
	}
	for _, id := range step.Probe {
		if p := s.peers[id]; p != nil {
			probe := &probe{ch: s.ch, id: id, addr: p.info.ChannelAddress, helpers: s.helpers(id)}
			s.spawn(func() { probe.run(s.running) })
		}
	}
}

// bury ends the link to an incarnation that is gone, and calls its handlers' Gone after all calls
// that come before.
func (s *state) bury(id membership.ID) {
	p := s.peers[id]
	if p == nil {
		return
	}
	if p.link != nil {
		p.link.fail(errGone)
	}
	if !p.connected {
		return
	}
	p.connected = false
	before, done := s.names[id.Name].turn()
	s.spawn(func() {
		<-before
		for _, pair := range p.pairs {
			pair.end()
		}
		clear(p.pairs)
		close(done)
	})
}

// helpers are connections to members that can probe another one, chosen at random by the order of
// the map.
func (s *state) helpers(but membership.ID) []Conn {
	var list []Conn
	for id, p := range s.peers {
		linked := p.link != nil && p.link.own.conn != nil
		if id != but && linked && s.view.State(id) == membership.Alive && len(list) < indirect {
			list = append(list, p.link.own.conn)
		}
	}
	return list
}

// admit decides whether this node may link to an incarnation, whichever side begins. A name has one
// incarnation at a time: a new one takes over only if the one that is known is not alive, and one
// that was superseded never comes back.
func (s *state) admit(m membership.Member) *Refusal {
	self := s.ch.cfg.Self
	if m.ID == self.ID {
		return &Refusal{Reason: RefusedSelf, Text: "this is " + self.Name + " itself"}
	}
	if m.Name == self.Name {
		r := duplicate(m, self)
		r.Own, r.Newcomer = true, !s.dialing.joined
		return r
	}
	h := s.names[m.Name]
	switch {
	case h == nil || h.peer == nil || h.peer.id == m.ID:
		return nil
	case slices.Contains(h.over, m.Incarnation):
		return &Refusal{Reason: RefusedSuperseded, Holder: h.peer.info, Text: fmt.Sprintf(
			"superseded: a newer node of the name %q is at %s", m.Name, h.peer.info.ChannelAddress)}
	case s.view.State(h.peer.id) == membership.Alive:
		return duplicate(m, h.peer.info)
	}
	return nil
}

func duplicate(m, holder membership.Member) *Refusal {
	return &Refusal{Reason: RefusedDuplicate, Holder: holder, Text: fmt.Sprintf(
		"duplicate node name: %q at %s is taken by the live node at %s: choose another [node] name",
		m.Name, m.ChannelAddress, holder.ChannelAddress)}
}

// peer returns what is kept of a member that was admitted, and ends the incarnation that had the
// name before. What a member that is linked hosts comes with its heartbeats, which a hello that
// was on its way does not undo.
func (s *state) peer(m membership.Member) *peer {
	h := s.names[m.Name]
	if h == nil {
		h = newHolder()
		s.names[m.Name] = h
	}
	if h.peer != nil && h.peer.id == m.ID {
		if h.peer.link != nil {
			m.Apps = h.peer.info.Apps
		}
		h.peer.info = m
		return h.peer
	}
	if old := h.peer; old != nil {
		s.apply(s.view.Ended(time.Now(), old.id, "a new incarnation of it is here"))
		s.drop(old, errAnew)
		h.over = append(h.over, old.id.Incarnation)
		h.over = h.over[max(0, len(h.over)-maxOver):]
	}
	h.peer = newPeer(m)
	s.peers[m.ID] = h.peer
	s.publish()
	return h.peer
}

// drop forgets an incarnation that is over.
func (s *state) drop(p *peer, why error) {
	if p.link != nil {
		p.link.fail(why)
	}
	s.view.Forget(p.id)
	delete(s.peers, p.id)
	s.publish()
}

// prune drops the peers without a link which the view has forgotten, too.
func (s *state) prune() {
	for id, p := range s.peers {
		if p.link != nil || s.view.State(id) != 0 {
			continue
		}
		s.drop(p, errGone)
		select {
		case <-s.names[id.Name].tail:
			delete(s.names, id.Name)
		default:
		}
	}
}

// publish copies the peers for Channel.wake, which takes no lock.
func (s *state) publish() {
	m := map[string]*peer{}
	for name, h := range s.names {
		if h.peer != nil && s.peers[h.peer.id] == h.peer {
			m[name] = h.peer
		}
	}
	s.ch.wakers.Store(&m)
}

// links are those that there are, whole or not.
func (s *state) links() []*link {
	var list []*link
	for _, p := range s.peers {
		if p.link != nil {
			list = append(list, p.link)
		}
	}
	return list
}

// link is the member's link to add streams to. A member without one gets one; if that it has is
// about to end, the error is errEnding.
func (s *state) link(m membership.Member) (*link, error) {
	if s.stopped || s.leaving {
		return nil, errLeaving
	}
	if r := s.admit(m); r != nil {
		return nil, r
	}
	p := s.peer(m)
	switch {
	case p.link == nil:
		k := newLink(s.ch, p)
		k.before, k.done = s.names[m.Name].turn()
		s.spawn(k.run)
		return k, nil
	case p.link.err != nil:
		return p.link, errEnding
	}
	return p.link, nil
}

// found takes an address to dial.
func (s *state) found(addr string, rank standing) {
	if s.stopped || s.running == nil {
		return
	}
	step := s.dialing.propose(time.Now(), addr, rank)
	s.carryOut(step)
	if step.dial {
		d := newDialer(s.ch, addr)
		s.dialers[addr] = d
		ctx, cancel := context.WithCancel(s.running)
		d.cancel = cancel
		s.spawn(func() { d.run(ctx) })
	}
}

// hints takes the addresses of members that another member knows.
func (s *state) hints(known []membership.Member) {
	for _, m := range known[:min(len(known), maxKnown+1)] {
		if m.ID != s.ch.cfg.Self.ID && checkMember(m) == nil {
			s.found(m.ChannelAddress, announced)
		}
	}
}

// carryOut does what the dialing asks for, but for new dials.
func (s *state) carryOut(step dialStep) {
	for _, l := range step.lines {
		s.say(l)
	}
	for _, addr := range step.forget {
		if d := s.dialers[addr]; d != nil {
			d.cancel()
			delete(s.dialers, addr)
		}
		s.ch.mu.clear(outSubject(addr))
	}
	if step.changed {
		s.notify()
	}
	if step.settled {
		close(s.ch.settled)
	}
	if step.stop != nil {
		s.stop(step.stop)
	}
}

// settle sees whether discovery has had its first chance.
func (s *state) settle(now time.Time) {
	if !s.dialing.settled {
		s.carryOut(s.dialing.settle(now, s.view.Members(), s.finders()))
	}
}

func (s *state) finders() []finder {
	var list []finder
	for _, p := range s.ch.providers {
		list = append(list, finder{p.Name(), p.Stats()})
	}
	return list
}
