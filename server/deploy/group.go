package deploy

import (
	"sync/atomic"

	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/membership"
)

// group lets a manager wake the channel, and the channel call the manager: each
// speaks its own words (a manager knows no channel).
type group struct {
	topic   atomic.Pointer[channel.Topic] // nil before the node runs
	manager *deltamanager.Manager
}

// Wake implements deltamanager.Group.
func (g *group) Wake(to membership.ID, bulk, urgent bool) {
	if t := g.topic.Load(); t != nil {
		t.Wake(to, class(bulk), urgent)
	}
}

func class(bulk bool) channel.Class {
	if bulk {
		return channel.Bulk
	}
	return channel.Live
}

// Connected and the other methods implement channel.Handler.
func (g *group) Connected(m membership.Member) { g.manager.Connected(m.ID) }

// Disconnected implements channel.Handler.
func (g *group) Disconnected(id membership.ID) { g.manager.Disconnected(id) }

// Gone implements channel.Handler.
func (g *group) Gone(id membership.ID) { g.manager.Gone(id) }

// Pull implements channel.Handler.
func (g *group) Pull(to membership.ID, c channel.Class) []byte {
	return g.manager.Pull(to, c == channel.Bulk)
}

// Receive implements channel.Handler.
func (g *group) Receive(from membership.ID, c channel.Class, payload []byte) {
	g.manager.Receive(from, c == channel.Bulk, payload)
}
