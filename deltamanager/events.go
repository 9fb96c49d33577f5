package deltamanager

import (
	"sync/atomic"

	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
)

// EventKind says what happened to a session.
type EventKind uint8

// Kinds of events.
const (
	Created EventKind = iota
	AttributeChanged
	IDChanged
	Invalidated
	Expired
)

// Event is something that happened to a session. Each event is local at one
// node, where it was decided, and remote at the others. Exactly one, but for
// this: a session that expires after the node that used it last has died is
// expired by the member with the smallest name, and by two if these can't reach each other.
type Event struct {
	Kind   EventKind
	Key    Key
	Name   string                   // of the attribute
	Remote bool                     // decided at another node
	Value  func(name string) []byte // reads an attribute, also of a session that has ended
}

// listeners hear what happens to sessions.
type listeners struct {
	table     *table.Table
	report    func(Event) // nil: there is no listener
	observing atomic.Bool
}

// set tells whether anybody listens.
func (c *listeners) set(on bool) { c.observing.Store(on && c.report != nil) }

// observe reports events, if anybody listens. Never called with a lock held.
func (c *listeners) observe(events []Event) {
	for _, e := range events {
		c.report(e)
	}
}

// events are what it means for s that these registers have changed: it was Created or is
// there in the place of another one (IDChanged), or neither. Nil unless there
// is a listener.
func (c *listeners) events(s *table.Session, kind EventKind, remote bool, changed []string) []Event {
	if !c.observing.Load() {
		return nil
	}
	value := func(name string) []byte { return c.table.Get(s, name) }
	var list []Event
	if kind != AttributeChanged {
		list = append(list, Event{Kind: kind, Key: s.Key, Remote: remote, Value: value})
	}
	for _, name := range changed {
		if table.IsAttribute(name) {
			list = append(list, Event{Kind: AttributeChanged, Key: s.Key, Name: name, Remote: remote, Value: value})
		}
	}
	return list
}

// ended is the event of a session that was removed; nil unless there
// is a listener. Nothing changes it any more, so its values are read without a lock.
func (c *listeners) ended(kind EventKind, s *table.Session, remote bool) []Event {
	if s == nil || !c.observing.Load() {
		return nil
	}
	return []Event{{Kind: kind, Key: s.Key, Remote: remote, Value: s.Get}}
}

// SetObserving tells whether the receiver of cfg.Observe wants to hear of events. At first it
// does, if cfg.Observe is set.
func (c *Core) SetObserving(on bool) { c.listeners.set(on) }
