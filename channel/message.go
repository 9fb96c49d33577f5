package channel

import (
	"fmt"

	"github.com/nodeserver/nodeserver/membership"
)

// Hello is the first message on every stream. It identifies the sender.
type Hello struct {
	Cluster          string
	WireMin, WireMax uint32
	Self             membership.Member
	Known            []membership.Member
}

// Welcome is the answer to an accepted hello.
type Welcome struct {
	Self  membership.Member
	Known []membership.Member
}

// Start makes a welcomed stream part of a link.
type Start struct {
	Class  Class
	Link   uint64  // the same for all streams of one link of one sender, never 0
	Topics []Offer // that the sender has, on its live stream
}

// Offer says that the sender has a topic.
type Offer struct {
	Topic       string
	Incarnation uint64 // of the sender's topic, never 0
	Peer        uint64 // of the receiver's, as the sender knows it; 0: it does not
	Number      uint32 // of payloads between the two, as the sender takes them
}

// Payload is opaque bytes on a topic.
type Payload struct {
	Topic  string
	Number uint32 // see Offer
	Data   []byte
	More   bool // the payload continues in the next one of the stream
}

// Heartbeat says that the sender is alive, and announces its changes.
type Heartbeat struct {
	Ready, Draining bool
	Known           []membership.Member // nil unless changed
	Apps            *[]string           // of the sender; nil unless changed
	Topics          *[]Offer            // all that the sender has; nil unless changed
}

// Leave says that the sender leaves in order.
type Leave struct{ Reason string }

// Message is one message on a sender's stream. Exactly one field is set. A message without any is
// of a kind that this version doesn't know, and is ignored.
type Message struct {
	Hello     *Hello
	Start     *Start
	Frame     []Payload
	Heartbeat *Heartbeat
	Leave     *Leave
}

// checkMember returns an error if a hello or welcome describes its sender in a wrong way. Code may
// rely on size and form of a member only as far as they are checked here.
func checkMember(m membership.Member) error {
	if err := membership.CheckName(m.Name); err != nil {
		return err
	}
	switch {
	case m.Incarnation == 0:
		return fmt.Errorf("member %s has no incarnation", m.Name)
	case m.ChannelAddress == "":
		return fmt.Errorf("member %s has no channel address", m.Name)
	}
	texts := append([]string{m.ChannelAddress, m.HTTPAddress, m.Domain, m.Version}, m.Apps...)
	for app, path := range m.Paths {
		texts = append(texts, app, path)
	}
	for _, s := range texts {
		if len(s) > 256 {
			return fmt.Errorf("member %s announces a text of %d bytes, more than 256", m.Name, len(s))
		}
	}
	if n := max(len(m.Apps), len(m.Paths)); n > 1024 {
		return fmt.Errorf("member %s announces %d apps, more than 1024", m.Name, n)
	}
	return nil
}
