package channel

import (
	"cmp"
	"slices"
	"sync"

	"github.com/nodeserver/nodeserver/membership"
)

// maxTopics is how many topics a member may announce.
const maxTopics = 4096

// pair joins this node's topic to a member's topic of the same name. It lasts as long as both are
// there, over several links. Each side marks its payloads with the number that the other has given
// for the pair, so that a payload which is on its way when a topic is closed or added never comes to
// another one. Guarded by the link's pairing.
type pair struct {
	topic  *Topic
	peer   membership.ID // the member's name, and the incarnation of its topic
	up     bool          // Connected was called
	open   bool          // the member takes payloads
	number uint32        // of payloads that come
	out    uint32        // of payloads that go
}

// pairing is what a link knows of pairs; mu guards it, and peer.pairs, too.
type pairing struct {
	mu      sync.RWMutex     // held to read while a handler is called
	on      bool             // the link is up
	offered map[string]Offer // the peer's topics, as announced last
	open    []*pair          // those to pull from, by topic
	numbers uint32           // the last number given
}

// match brings the pairs in line with the topics that there are here and, as it announced, at the
// member, and calls the handlers of what has changed. Before the link is up it does nothing.
func (k *link) match() {
	k.pairing.mu.Lock()
	defer k.pairing.mu.Unlock()
	if !k.pairing.on {
		return
	}
	here := k.topicsHere()
	for name, p := range k.peer.pairs {
		if here[name] != p.topic || k.pairing.offered[name].Incarnation != p.peer.Incarnation {
			p.end()
			delete(k.peer.pairs, name)
		}
	}
	k.pairing.open = k.pairing.open[:0]
	for name, t := range here {
		if o := k.pairing.offered[name]; o.Incarnation != 0 {
			k.connect(t, o)
		}
	}
	slices.SortFunc(k.pairing.open, func(a, b *pair) int { return cmp.Compare(a.topic.name, b.topic.name) })
}

func (k *link) topicsHere() map[string]*Topic {
	k.ch.mu.Lock()
	defer k.ch.mu.Unlock()
	here := map[string]*Topic{}
	for _, t := range k.ch.st.topicsFor(k.info) {
		here[t.name] = t
	}
	return here
}

// connect brings up the pair of a topic and the member's.
func (k *link) connect(t *Topic, o Offer) {
	p := k.peer.pairs[t.name]
	if p == nil {
		p = &pair{topic: t, peer: membership.ID{Name: k.peer.id.Name, Incarnation: o.Incarnation}}
		k.peer.pairs[t.name] = p
	}
	if !p.up {
		p.up = true
		p.number, p.out, p.open = 0, 0, named(k.sent, t.name, t.incarnation) && named(k.got, t.name, o.Incarnation)
		if !p.open {
			k.pairing.numbers++
			p.number = k.pairing.numbers
		}
		m := k.info
		m.ID = p.peer
		t.h.Connected(m)
		k.peer.announce.ring()
	}
	if !p.open && o.Peer == t.incarnation {
		p.open, p.out = true, o.Number
		for _, b := range k.peer.wakes {
			b.ring(true)
		}
	}
	if p.open {
		k.pairing.open = append(k.pairing.open, p)
	}
}

// end says that the member's topic or the member is gone.
func (p *pair) end() {
	if p.topic.closed.Load() {
		return
	}
	if p.up {
		p.topic.h.Disconnected(p.peer)
	}
	p.topic.h.Gone(p.peer)
}

// unmatch says that the link is down.
func (k *link) unmatch() {
	k.pairing.mu.Lock()
	defer k.pairing.mu.Unlock()
	k.pairing.on, k.pairing.open = false, nil
	for _, p := range k.peer.pairs {
		if p.up && !p.topic.closed.Load() {
			p.topic.h.Disconnected(p.peer)
		}
		p.up, p.open = false, false
	}
}

// offers are the topics of this node as the member is to know them.
func (k *link) offers() []Offer {
	k.pairing.mu.RLock()
	defer k.pairing.mu.RUnlock()
	k.ch.mu.Lock()
	defer k.ch.mu.Unlock()
	list := offers(k.ch.st.topicsFor(k.info))
	for i := range list {
		o := &list[i]
		if p := k.peer.pairs[o.Topic]; p != nil && p.number != 0 && p.topic.incarnation == o.Incarnation {
			o.Peer, o.Number = p.peer.Incarnation, p.number
		}
	}
	return list
}

func offers(topics []*Topic) []Offer {
	var list []Offer
	for _, t := range topics {
		list = append(list, Offer{Topic: t.name, Incarnation: t.incarnation})
	}
	return list
}

// take notes what the member has announced of its topics.
func (k *link) take(list []Offer) {
	k.pairing.mu.Lock()
	k.pairing.offered = byTopic(list)
	k.pairing.mu.Unlock()
	k.match()
}

func byTopic(list []Offer) map[string]Offer {
	m := make(map[string]Offer, len(list))
	for _, o := range list {
		m[o.Topic] = o
	}
	return m
}

// named tells whether the list has this incarnation of the topic.
func named(list []Offer, topic string, incarnation uint64) bool {
	return slices.ContainsFunc(list, func(o Offer) bool { return o.Topic == topic && o.Incarnation == incarnation })
}

// receive hands a payload to the handler for which it was sent, if that is still there.
func (k *link) receive(class Class, p Payload) {
	k.pairing.mu.RLock()
	defer k.pairing.mu.RUnlock()
	if t := k.peer.pairs[p.Topic]; t != nil && t.up && t.number == p.Number {
		t.topic.h.Receive(t.peer, class, p.Data)
	}
}
