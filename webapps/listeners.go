package webapps

// Events is what a node's Context offers besides Context, to apps that want to
// hear what happens to their sessions:
//
//	if e, ok := c.(webapps.Events); ok {
//		e.Listen(webapps.Listener{Destroyed: func(e webapps.Event, why webapps.Reason) { … }})
//	}
//
// Call Listen in New. Safe for concurrent use.
type Events interface {
	Listen(Listener)
}

// Listener holds functions to be called when something has happened to a
// session of the app; nil ones are left out. They are called after the fact, at
// the node where it was decided, from whichever goroutine decided it, so they
// must be quick; with Everywhere also at every other node, when it learns of it.
// A change that comes with a repair instead of on its own may be reported late,
// and of several changes only the last.
type Listener struct {
	Everywhere bool

	Created          func(Event)
	Destroyed        func(Event, Reason)
	AttributeChanged func(Event, string) // set or removed: the attribute's name
	IDChanged        func(Event)
}

// Reason says why a session has ended.
type Reason string

// Reasons.
const (
	Invalidated Reason = "invalidated" // by Session.Invalidate or an operator
	Expired     Reason = "expired"     // unused for too long, or at the end of its lifetime
)

// Event is what happened to one session.
type Event struct {
	ID     string // as Session.ID
	Remote bool   // decided at another node
	// Get reads an attribute, as Session.Get does; of a session that has ended, as it was.
	Get func(name string, into any) (found bool, err error)
}
