package channel

import "github.com/nodeserver/nodeserver/membership"

// Class separates small urgent payloads from bulk. Each class has a stream of its own per member,
// so that bulk never delays live payloads.
type Class uint8

// Classes of payloads.
const (
	Live Class = iota // in order, batched for a moment unless urgent
	Bulk              // in order among themselves, limited only by the receiver
)

// Handler is the owner of a topic. Calls for one member and class never overlap; calls for
// different members do. Handlers must not block for long: a blocked Receive holds back that
// member's stream, by design.
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
	name   string
	ch     *Channel
	h      Handler
	serves func(membership.Member) bool
}

// Wake says that Pull has a payload for the member. It never blocks. The channel serves an urgent
// wake at once, any other one within Config.BatchDelay.
func (t *Topic) Wake(to membership.ID, class Class, urgent bool) {
	t.ch.wake(to, class, urgent)
}
