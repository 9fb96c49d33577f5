package webapps

import (
	"context"
	"net/http"
	"time"
)

// Session is one user's state in one webapp, the same on every node of the
// cluster. Writes are recorded and committed together when the handler
// returns; an error page after a panic commits nothing. All methods are safe
// for concurrent use, and no value is ever shared with the caller: Get fills a
// copy, Set stores one.
type Session interface {
	// ID is the session's internal key as text: safe to log, and useless as a cookie.
	// ChangeID and SetPrincipal change it, too, at once.
	ID() string
	// IsNew tells whether this request created the session.
	IsNew() bool
	// Created is when the session was created.
	Created() time.Time
	// LastAccess is when the session was used before this request.
	LastAccess() time.Time

	// MaxInactive is how long the session lives unused.
	MaxInactive() time.Duration
	// SetMaxInactive changes it for this session. Zero or less: until its
	// absolute lifetime ends.
	SetMaxInactive(time.Duration)

	// Get copies the attribute into the pointer. It reports whether there is
	// one; the error says why the stored value doesn't fit the pointer, or that another
	// request has ended the session (ErrGone) or changed its id (ErrIDChanged) meanwhile.
	Get(name string, into any) (found bool, err error)
	// Set stores a copy of the value. It fails, and changes nothing, for a name
	// of 0 or over 256 bytes or that begins with a zero byte, a value that can't be stored
	// and read again, a session that grows over its limit, and one that was invalidated or
	// whose id another request has changed.
	Set(name string, value any) error
	// Remove removes the attribute.
	Remove(name string)
	// Names lists the attributes, sorted.
	Names() []string
	// Update reads the attribute into the pointer (its zero value where there
	// is none), calls change and stores what the pointer then holds, alone among all Updates
	// of this session on this node until the request's writes are committed.
	// An error of change is returned and stores nothing. Change may use the
	// session, but for another Update, which would wait for this one to end.
	Update(name string, into any, change func() error) error

	// ChangeID gives the user a new cookie, and the session a new id; the old cookie
	// is dead on every node. Call it at login. Whatever other requests still do with the
	// old cookie is void: they see nothing of what comes after, and are answered 409 if
	// they have written.
	ChangeID() error
	// Invalidate ends the session on every node, for good.
	Invalidate()
	// Commit commits what was written so far, for requests that last long. An
	// error says that nothing was written, or that it was and too few other nodes
	// have confirmed it in time. More may be written and committed afterwards.
	Commit(ctx context.Context) error
	// Acks overrides for this request what a commit waits for: "async",
	// "one", "majority" or "all"; it panics for any other word.
	Acks(level string)

	// Principal is the name of the user who logged in, or "".
	Principal() string
	// SetPrincipal records who logged in; it changes the id, as ChangeID does.
	SetPrincipal(name string)
}

// Source gives a request its session. A node puts one into each request's
// context; so does webappstest.
type Source interface {
	// Session is the request's session. With create unset it reports false
	// where there is none; with create set it makes one.
	Session(create bool) (Session, bool)
}

type sourceKey struct{}

// Sources gives each of several requests, one after the other, its Source: that
// of a request which it doesn't serve, or no more, makes sessions that hold nothing
// and whose writes are ErrRequestOver.
type Sources interface {
	SourceOf(r *http.Request) Source
}

// WithSource returns a context that carries the source of a request's session.
// Servers and test helpers call it; apps don't.
func WithSource(ctx context.Context, s Source) context.Context {
	return context.WithValue(ctx, sourceKey{}, s)
}

// WithSources is WithSource for the context of a connection, from which those of
// its requests are made.
func WithSources(ctx context.Context, s Sources) context.Context {
	return context.WithValue(ctx, sourceKey{}, s)
}

func sourceOf(r *http.Request) (Source, bool) {
	switch s := r.Context().Value(sourceKey{}).(type) {
	case Source:
		return s, true
	case Sources:
		return s.SourceOf(r), true
	}
	return nil, false
}

// SessionOf is the request's session, created if there is none. From then on the
// answer is its user's: it says "Vary: Cookie" and, unless the app sets its own
// Cache-Control, "private". Call it before the answer's head has gone out, and while
// the handler runs, with its request or one made of it by WithContext or Clone: of
// any other, and where the node may hold no more sessions, it returns one that holds
// nothing and whose writes fail. It panics for a request that no node serves: in
// a test use package webappstest.
func SessionOf(r *http.Request) Session {
	s, ok := sourceOf(r)
	if !ok {
		panic("webapps: the request has no session source: serve it by a node, or by webappstest in a test")
	}
	session, _ := s.Session(true)
	return session
}

// ExistingSession is the request's session, if it has one. It never creates. To
// caches, the answer is its user's as with SessionOf, also where there is none.
func ExistingSession(r *http.Request) (Session, bool) {
	s, ok := sourceOf(r)
	if !ok {
		return nil, false
	}
	return s.Session(false)
}

// Get is Session.Get for a type known at the call.
func Get[T any](s Session, name string) (T, bool, error) {
	var v T
	found, err := s.Get(name, &v)
	return v, found, err
}
