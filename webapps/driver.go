package webapps

import (
	"context"
	"net/http"
	"time"
)

// Driver is what a Session stands on: the state of one session as one request sees it.
// A Session checks the arguments, encodes values and words the errors, so a driver has
// only what hosts of apps do differently. Nodes and package webappstest implement it, apps
// don't; it may change with any version, as may all that this file has.
//
// Errors are those of this package, as far as there is one that says it. All methods are
// safe for concurrent use.
type Driver interface {
	Codec

	App() string // its name, for errors; empty: unknown
	ID() string
	IsNew() bool
	Created() time.Time
	LastAccess() time.Time
	MaxInactive() time.Duration
	SetMaxInactive(d time.Duration) // d >= 0
	Principal() string

	// Read returns an attribute's bytes, which are not to be changed; nil: there is none.
	Read(name string) ([]byte, error)
	// Write records bytes that nobody changes any more; nil removes the attribute.
	Write(name string, value []byte) error
	// Names lists the attributes, sorted.
	Names() []string
	// Lock waits until no other request has the session locked on this node, and keeps it
	// locked until the request's next commit or its end. A second call is no error.
	Lock() error

	ChangeID() error
	SetPrincipal(name string) error
	Invalidate()
	Acks(level Acks) // one of the constants
	Commit(ctx context.Context) error
}

// Codec turns values into bytes and back. Package codec has the one that all hosts use;
// it isn't here because this package imports the standard library only.
type Codec interface {
	// Encode returns bytes that are not nil and share no memory with the value.
	Encode(value any) ([]byte, error)
	// Decode copies the value into the pointer; nil stands for the zero value. After an
	// error the pointer holds what it did.
	Decode(b []byte, into any) error
}

// MakeSession returns a Session on a driver, to be stored once and used by its address:
// so a host may have it in a struct of its own.
func MakeSession(d Driver) Session { return Session{driver: d} }

// NoSession returns a Session for a request that can have none: it holds nothing, and what
// is written to it is an error that says why. SessionOf can't return an error, and a panic
// would end the process if it came in a goroutine of the handler's.
func NoSession(app string, why error) *Session { return &Session{driver: noSession{app, why}} }

type noSession struct {
	app string
	why error
}

func (n noSession) App() string                { return n.app }
func (noSession) ID() string                   { return "" }
func (noSession) IsNew() bool                  { return true }
func (noSession) Created() time.Time           { return time.Time{} }
func (noSession) LastAccess() time.Time        { return time.Time{} }
func (noSession) MaxInactive() time.Duration   { return 0 }
func (noSession) SetMaxInactive(time.Duration) {}
func (noSession) Principal() string            { return "" }
func (noSession) Names() []string              { return nil }
func (noSession) Invalidate()                  {}
func (noSession) Acks(Acks)                    {}

func (n noSession) Encode(any) ([]byte, error)   { return nil, n.why }
func (n noSession) Decode([]byte, any) error     { return n.why }
func (n noSession) Read(string) ([]byte, error)  { return nil, n.why }
func (n noSession) Write(string, []byte) error   { return n.why }
func (n noSession) Lock() error                  { return n.why }
func (n noSession) ChangeID() error              { return n.why }
func (n noSession) SetPrincipal(string) error    { return n.why }
func (n noSession) Commit(context.Context) error { return n.why }

// NewEvent makes an Event. Read returns an attribute's bytes, nil if there is none.
func NewEvent(app, id string, remote bool, c Codec, read func(name string) []byte) Event {
	return Event{ID: id, Remote: remote, Get: func(name string, into any) (bool, error) {
		var b []byte
		err := checkName(name)
		if err == nil {
			b = read(name)
		}
		if b != nil {
			err = c.Decode(b, into)
		}
		if err != nil {
			err = explain(app, "read", name, err)
		}
		return b != nil, err
	}}
}

// Source gives a request its session. A host puts one into each request's context.
type Source interface {
	// Session is the request's session. With create unset it reports false
	// where there is none; with create set it makes one.
	Session(create bool) (*Session, bool)
	// Discard drops what the request has not committed, now and at its end.
	Discard()
}

type sourceKey struct{}

// Sources gives each of several requests, one after the other, its Source: that
// of a request which it doesn't serve, or no more, makes sessions that hold nothing
// and whose writes are ErrRequestOver.
type Sources interface {
	SourceOf(r *http.Request) Source
}

// WithSource returns a context that carries the source of a request's session.
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
