package webapps

import (
	"context"
	"time"
)

// Users is what a node's Context offers besides Context, to apps that show users where they are
// logged in, and let them end those sessions:
//
//	users, ok := c.(webapps.Users)
//
// An app that changes a password ends all other sessions of its user with it. A Context of a later
// kind may lack it. Safe for concurrent use.
type Users interface {
	// SessionsOf lists the sessions of the user with that name (Session.SetPrincipal), newest
	// first, 1000 at most; none for "". Those that began or ended on another node a moment ago
	// may be missing or still there. The node looks at all sessions of the app for it, one such
	// call after the other, some 0.1 s for a million: so it is nothing for each request.
	SessionsOf(principal string) []UserSession
	// EndSession ends the session with that id, on every node, if it is the user's; ended is false
	// if it is not, or has ended already. It waits for the other nodes as a logout does; an error
	// says that it has not ended, or that too few of them have confirmed it in time.
	EndSession(ctx context.Context, principal, id string) (ended bool, err error)
}

// UserSession is one of a user's sessions.
type UserSession struct {
	ID         string // as Session.ID
	Created    time.Time
	LastAccess time.Time
	// Get copies an attribute into the pointer, as Session.Get does: what the app has noted of the
	// login, like the browser.
	Get func(name string, into any) (found bool, err error)
}

// NewUserSession makes a UserSession. Read returns an attribute's bytes, nil if there is none.
func NewUserSession(app, id string, created, lastAccess time.Time, c Codec, read func(name string) []byte) UserSession {
	return UserSession{ID: id, Created: created, LastAccess: lastAccess, Get: NewEvent(app, id, false, c, read).Get}
}
