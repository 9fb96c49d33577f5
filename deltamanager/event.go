package deltamanager

import "github.com/nodeserver/nodeserver/deltamanager/internal/table"

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

// SetObserving tells whether anybody listens to what cfg.Observe is told. To begin
// with, somebody does, if it is set.
func (c *Core) SetObserving(on bool) { c.observing.Store(on && c.cfg.Observe != nil) }

// observe reports events, if anybody listens. Never called with a lock held.
func (c *Core) observe(events []Event) {
	for _, e := range events {
		c.cfg.Observe(e)
	}
}

// events are what it means for s that these registers have changed: it was Created or is
// there in the place of another one (IDChanged), or neither. Nil unless somebody
// listens.
func (c *Core) events(s *table.Session, kind EventKind, remote bool, changed []string) []Event {
	if !c.observing.Load() {
		return nil
	}
	ref := Ref{c: c, s: s}
	value := func(name string) []byte { b, _ := ref.Get(name); return b }
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

// ended is the event of a session that was removed; nil unless somebody
// listens. Nothing changes it any more, so its values are read without a lock.
func (c *Core) ended(kind EventKind, s *table.Session, remote bool) []Event {
	if s == nil || !c.observing.Load() {
		return nil
	}
	return []Event{{Kind: kind, Key: s.Key, Remote: remote, Value: s.Get}}
}

// expiresHere tells whether this node speaks for the end of a session that
// another one used last, and has not told of its end: that one must be gone.
func (c *Core) expiresHere() bool {
	for _, l := range *c.links.Load() {
		l.mu.Lock()
		smaller := l.up && compareIDs(l.id, c.cfg.Self) < 0
		l.mu.Unlock()
		if smaller {
			return false
		}
	}
	return true
}
