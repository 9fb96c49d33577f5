package webapps

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"sync"
	"time"
)

// Limits of a session. The number of bytes that all its names and values have together is
// limited by the node, with sessions.max_session_bytes.
const (
	MaxAttributes = 1024 // removed ones included, until the session's id changes
	MaxNameBytes  = 256  // of an attribute's name

	MaxPrincipalBytes = 1024 // of a user's name
)

// Session is one user's state in one webapp, the same on every node of the
// cluster. Writes are recorded and committed together when the handler
// returns, but not after a panic, or a Discard. All methods are safe
// for concurrent use, and no value is ever shared with the caller: Get fills a
// copy, Set stores one.
//
// SessionOf and ExistingSession return it, for as long as their request runs. Its zero
// value is of no use.
type Session struct {
	driver  Driver
	updates sync.Mutex // held during an Update: one at a time within the request
}

// ID is the session's internal key as text: safe to log, and useless as a cookie.
// ChangeID and SetPrincipal change it, too, at once.
func (s *Session) ID() string { return s.driver.ID() }

// IsNew tells whether this request created the session.
func (s *Session) IsNew() bool { return s.driver.IsNew() }

// Created is when the session was created.
func (s *Session) Created() time.Time { return s.driver.Created() }

// LastAccess is when the session was used before this request.
func (s *Session) LastAccess() time.Time { return s.driver.LastAccess() }

// MaxInactive is how long the session lives unused; 0: until its absolute lifetime ends.
func (s *Session) MaxInactive() time.Duration { return s.driver.MaxInactive() }

// SetMaxInactive changes it for this session. Zero or less: until its
// absolute lifetime ends.
func (s *Session) SetMaxInactive(d time.Duration) { s.driver.SetMaxInactive(max(0, d)) }

// Get copies the attribute into the pointer. It reports whether there is
// one; the error says why the stored value doesn't fit the pointer, that no attribute can
// have the name, or that another request has ended the session (ErrGone) or changed its id
// (ErrIDChanged) meanwhile.
func (s *Session) Get(name string, into any) (found bool, err error) {
	var b []byte
	if err = checkName(name); err == nil {
		b, err = s.driver.Read(name)
	}
	if err == nil && b != nil {
		err = s.driver.Decode(b, into)
	}
	return b != nil, s.explain("read", name, err)
}

// Set stores a copy of the value. It fails, and changes nothing, for a name
// of 0 or over 256 bytes or that begins with a zero byte, a value that can't be stored
// and read again, a session that grows over its limit, and one that was invalidated or
// whose id another request has changed.
func (s *Session) Set(name string, value any) error {
	return s.explain("set", name, s.set(name, value))
}

func (s *Session) set(name string, value any) error {
	if err := checkName(name); err != nil {
		return err
	}
	b, err := s.driver.Encode(value)
	if err != nil {
		return err
	}
	return s.driver.Write(name, b)
}

// Remove removes the attribute.
func (s *Session) Remove(name string) {
	if checkName(name) != nil {
		return // there is none
	}
	// Of what never was, no mark is to be left in the session.
	if b, err := s.driver.Read(name); b != nil || err != nil {
		_ = s.driver.Write(name, nil) // what fails now fails at the commit, or this request has ended the session
	}
}

// Names lists the attributes, sorted.
func (s *Session) Names() []string { return s.driver.Names() }

// Update reads the attribute into the pointer (its zero value where there
// is none), calls change and stores what the pointer then holds, alone among all Updates
// of this session on this node until the request's writes are committed.
// An error of change is returned and stores nothing. Change may use the
// session, but for another Update, which would wait for this one to end.
func (s *Session) Update(name string, into any, change func() error) error {
	s.updates.Lock()
	defer s.updates.Unlock()
	if err := s.load(name, into); err != nil {
		return s.explain("update", name, err)
	}
	if err := change(); err != nil {
		return err
	}
	return s.explain("update", name, s.set(name, reflect.ValueOf(into).Elem().Interface()))
}

// load waits for the Updates of other requests, and reads into the pointer.
func (s *Session) load(name string, into any) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := s.driver.Lock(); err != nil {
		return err
	}
	b, err := s.driver.Read(name)
	if err != nil {
		return err
	}
	return s.driver.Decode(b, into)
}

// ChangeID gives the user a new cookie, and the session a new id; the old cookie
// is dead on every node. Call it at login. Whatever other requests still do with the
// old cookie is void: they see nothing of what comes after, and are answered 409 if
// they have written.
func (s *Session) ChangeID() error { return s.say("change session id", s.driver.ChangeID()) }

// Invalidate ends the session on every node, for good.
func (s *Session) Invalidate() { s.driver.Invalidate() }

// Commit commits what was written so far, for requests that last long. An
// error says that nothing was written, or that it was and too few other nodes
// have confirmed it in time. More may be written and committed afterwards.
func (s *Session) Commit(ctx context.Context) error {
	return s.say("commit session", s.driver.Commit(ctx))
}

// Acks sets the ack level of this request: what a commit waits for, instead of what the
// node's conf says. It panics for what is none of the constants.
func (s *Session) Acks(level Acks) {
	if !level.valid() {
		panic(fmt.Sprintf("webapps: Session.Acks(%v): want AcksAsync, AcksOne, AcksMajority or AcksAll", level))
	}
	s.driver.Acks(level)
}

// Principal is the name of the user who logged in, or "".
func (s *Session) Principal() string { return s.driver.Principal() }

// SetPrincipal records who logged in; it changes the id, as ChangeID does. It fails, and changes
// nothing, for a name of over MaxPrincipalBytes, and for a session that was invalidated.
func (s *Session) SetPrincipal(name string) error {
	if len(name) > MaxPrincipalBytes {
		return s.say("set principal", fmt.Errorf("%w: a name of %d bytes: want %d at most",
			ErrTooLarge, len(name), MaxPrincipalBytes))
	}
	return s.say("set principal", s.driver.SetPrincipal(name))
}

// checkName tells why no attribute can have the name.
func checkName(name string) error {
	if name == "" || len(name) > MaxNameBytes {
		return fmt.Errorf("attribute name of %d bytes: want 1 to %d", len(name), MaxNameBytes)
	}
	if name[0] == 0 {
		return errors.New("names must not begin with a zero byte")
	}
	return nil
}

func (s *Session) explain(what, name string, err error) error {
	if err == nil {
		return nil
	}
	return explain(s.driver.App(), what, name, err)
}

// explain adds to an error what was done to which attribute, and by which app.
func explain(app, what, name string, err error) error {
	if errors.Is(err, ErrTooLarge) {
		err = fmt.Errorf("%w (limits: sessions.max_session_bytes, %d attributes)", err, MaxAttributes)
	}
	return say(app, fmt.Sprintf("%s attribute %q", what, name), err)
}

func (s *Session) say(what string, err error) error {
	if err == nil {
		return nil
	}
	return say(s.driver.App(), what, err)
}

func say(app, what string, err error) error {
	if app == "" {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("app %s: %s: %w", app, what, err)
}

// SessionOf is the request's session, created if there is none. From then on the
// answer is its user's: it says "Vary: Cookie" and, unless the app sets its own
// Cache-Control, "private". Call it before the answer's head has gone out, and while
// the handler runs, with its request or one made of it by WithContext or Clone: of
// any other, and where the node may hold no more sessions, it returns one that holds
// nothing and whose writes fail. It panics for a request that no node serves: in
// a test use package webappstest.
func SessionOf(r *http.Request) *Session {
	s, ok := sourceOf(r)
	if !ok {
		panic(noSourceText)
	}
	session, _ := s.Session(true)
	return session
}

const noSourceText = "webapps: the request has no session source: serve it by a node, or by webappstest in a test"

// ExistingSession is the request's session, if it has one. It never creates. To
// caches, the answer is its user's as with SessionOf, also where there is none.
func ExistingSession(r *http.Request) (*Session, bool) {
	s, ok := sourceOf(r)
	if !ok {
		return nil, false
	}
	return s.Session(false)
}

// Get is Session.Get for a type known at the call.
func Get[T any](s *Session, name string) (T, bool, error) {
	var v T
	found, err := s.Get(name, &v)
	return v, found, err
}
