package channel

import (
	"maps"
	"slices"
	"sync/atomic"

	"github.com/nodeserver/nodeserver/membership"
)

// Class separates small urgent payloads from bulk. Each class has a stream of its own per member,
// so that bulk never delays live payloads.
type Class uint8

// Classes of payloads.
const (
	Live Class = iota // in order, batched for a moment unless urgent
	Bulk              // in order among themselves, limited only by the receiver
)

// Handler is the owner of a topic. The members that it hears of are those that have the topic, too,
// and as an incarnation it gets that of the member's topic: a member that closes the topic is
// Gone for the handler, and if it adds the topic again, that is another incarnation. Calls for one
// member and class never overlap; calls for different members do. Handlers must not block for long:
// a blocked Receive holds back that member's stream, by design.
type Handler interface {
	// Connected says that payloads can be sent to the member, and that payloads sent over earlier
	// streams may have been lost. It is called again after each reconnect of the same incarnation,
	// and for each new incarnation.
	Connected(m membership.Member)
	// Disconnected says that the streams to this incarnation are broken; the channel goes on trying
	// to dial.
	Disconnected(id membership.ID)
	// Gone says that this incarnation of the member has left or disappeared for good.
	Gone(id membership.ID)
	// Pull returns the next payload for the member, or nil if there is none now. It is called when
	// the stream can take a payload, and again until it returns nil. The returned slice belongs to
	// the channel.
	Pull(to membership.ID, class Class) []byte
	// Receive takes one payload, which the handler may keep. The payload has been applied when
	// Receive returns. Payloads of one incarnation, class and connection arrive in order, without
	// gaps or doubles.
	Receive(from membership.ID, class Class, payload []byte)
}

// Topic wakes the senders to members that have a handler of the same topic. It is safe for
// concurrent use.
type Topic struct {
	name        string
	incarnation uint64
	ch          *Channel
	h           Handler
	serves      func(membership.Member) bool
	closed      atomic.Bool
}

// Topic adds a topic with its handler, for the members of which serves is true; a nil serves stands
// for all. The incarnation is a number that was drawn for this topic and is never used again, as the
// incarnation of a node. Topics may be added and closed at any time. When Topic returns, the handler
// has heard of every member that is linked and is known to have the topic.
func (c *Channel) Topic(name string, incarnation uint64, h Handler, serves func(membership.Member) bool) *Topic {
	t := &Topic{name: name, incarnation: incarnation, ch: c, h: h, serves: serves}
	c.matchAll(c.add(t))
	return t
}

// Close takes the topic from this node. When Close returns, no payload is taken from the handler or
// given to it any more.
func (t *Topic) Close() {
	if !t.closed.Swap(true) {
		t.ch.matchAll(t.ch.remove(t))
	}
}

func (c *Channel) add(t *Topic) []*link {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.st.topics[t.name] != nil {
		panic("channel: topic " + t.name + " added twice")
	}
	c.st.topics[t.name] = t
	return c.st.links()
}

func (c *Channel) remove(t *Topic) []*link {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.st.topics, t.name)
	return c.st.links()
}

func (c *Channel) matchAll(links []*link) {
	for _, k := range links {
		k.match()
		k.peer.announce.ring()
	}
}

// topicsFor lists the topics that are for the member, in a fixed order.
func (s *state) topicsFor(m membership.Member) []*Topic {
	var list []*Topic
	for _, name := range slices.Sorted(maps.Keys(s.topics)) {
		if t := s.topics[name]; t.serves == nil || t.serves(m) {
			list = append(list, t)
		}
	}
	return list
}

// Wake says that Pull has a payload for the member. It never blocks. The channel serves an urgent
// wake at once, any other one within Config.BatchDelay.
func (t *Topic) Wake(to membership.ID, class Class, urgent bool) {
	t.ch.wake(to, class, urgent)
}
