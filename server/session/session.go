package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/webapps"
	"github.com/nodeserver/nodeserver/webapps/codec"
)

// session is a request's webapps.Session: a view with values instead of bytes.
type session struct {
	app  string
	view *deltamanager.View
	ctx  context.Context //nolint:containedctx // the request's: bounds how long Update waits

	updates sync.Mutex // held during an Update: one at a time within the request

	mu     sync.Mutex
	id     string   // the cookie's id, "" for a session that belongs to no request
	former []string // ids that this request has given up

	sent string // the id that the user has; guarded by visit.mu, as the next one
	gone bool   // it had ended elsewhere when it was to be committed
}

var _ webapps.Session = (*session)(nil)

func (s *session) ID() string                 { return s.view.Key().String() }
func (s *session) IsNew() bool                { return s.view.IsNew() }
func (s *session) Created() time.Time         { return s.view.Created() }
func (s *session) LastAccess() time.Time      { return s.view.LastAccess() }
func (s *session) MaxInactive() time.Duration { return s.view.MaxInactive() }
func (s *session) Names() []string            { return s.view.Names() }
func (s *session) Principal() string          { return s.view.Principal() }
func (s *session) Invalidate()                { s.view.Invalidate() }

func (s *session) SetMaxInactive(d time.Duration) {
	s.view.SetMaxInactive(d)
}

func (s *session) Get(name string, into any) (bool, error) {
	b, err := s.view.Get(name)
	if err != nil {
		return false, s.explain("read", name, err)
	}
	return getValue(s.app, name, b, into)
}

// getValue is Session.Get for an attribute's bytes.
func getValue(app, name string, b []byte, into any) (bool, error) {
	if b == nil {
		return false, nil
	}
	if err := codec.Decode(b, into); err != nil {
		return true, fmt.Errorf("app %s: read attribute %q: %w", app, name, err)
	}
	return true, nil
}

func (s *session) Set(name string, value any) error {
	b, err := codec.Encode(value)
	if err == nil {
		err = s.view.Set(name, b)
	}
	return s.explain("set", name, err)
}

func (s *session) Remove(name string) {
	if b, err := s.view.Get(name); b != nil || err != nil { // else there would be a mark in the session of what never was
		_ = s.view.Set(name, nil) // what fails now fails at the commit, or this request has ended the session
	}
}

func (s *session) Update(name string, into any, change func() error) error {
	to, err := codec.Target(into)
	if err != nil {
		return s.explain("update", name, err)
	}
	s.updates.Lock()
	defer s.updates.Unlock()
	old, err := s.lock(name)
	if err == nil {
		to.SetZero()
		_, err = getValue(s.app, name, old, into)
	}
	if err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	return s.Set(name, to.Interface())
}

// lock takes the session's lock, which the view keeps until it is committed or
// discarded, and returns the attribute's value. The view itself must be free
// while an app's change runs: that may read and write other attributes.
func (s *session) lock(name string) (old []byte, err error) {
	err = s.view.Update(s.ctx, name, func(b []byte) ([]byte, error) {
		old = b
		return nil, errLocked
	})
	if errors.Is(err, errLocked) {
		err = nil
	}
	return old, s.explain("update", name, err)
}

var errLocked = errors.New("the session is locked and nothing was written")

func (s *session) explain(what, name string, err error) error {
	if err == nil {
		return nil
	}
	limits := ""
	if errors.Is(err, deltamanager.ErrTooLarge) {
		limits = fmt.Sprintf(" (limits: sessions.max_session_bytes, %d attributes)", deltamanager.MaxNames)
	}
	return public(fmt.Errorf("app %s: %s attribute %q: %w%s", s.app, what, name, err, limits))
}

func (s *session) ChangeID() error { return s.changeID(s.view.ChangeTag) }

func (s *session) SetPrincipal(name string) {
	// Fails for an invalidated session only, whose principal no longer matters.
	_ = s.changeID(func(tag deltamanager.Tag) error { return s.view.SetPrincipal(name, tag) })
}

// changeID draws a new id, and has the view take it.
func (s *session) changeID(take func(deltamanager.Tag) error) error {
	if s.view.Invalidated() {
		return public(fmt.Errorf("app %s: change session id: %w", s.app, deltamanager.ErrGone))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := newID()
	if err := take(tagOf(id)); err != nil {
		return fmt.Errorf("app %s: change session id: %w", s.app, err)
	}
	s.former, s.id = append(s.former, s.id), id
	return nil
}

// newest is the id that this request has drawn last, committed or not.
func (s *session) newest() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// valid is that of this request's ids by which the session is found now; ""
// if there is none: not committed, or another request has changed it since.
func (s *session) valid() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	tag, ok := s.view.Tag()
	if !ok {
		return ""
	}
	for _, id := range append(slices.Clip(s.former), s.id) {
		if tagOf(id) == tag {
			return id
		}
	}
	return ""
}

func (s *session) Commit(ctx context.Context) error {
	if _, err := s.commit(ctx); err != nil {
		return public(fmt.Errorf("app %s: commit session: %w", s.app, err))
	}
	return nil
}

// errLeft is of a session that its client will never have the cookie of.
var errLeft = errors.New("the client has gone before the answer: no session is made for it")

func (s *session) commit(ctx context.Context) (deltamanager.Result, error) {
	if s.ctx.Err() != nil && s.view.Creates() {
		return deltamanager.Result{}, errLeft
	}
	return s.view.Commit(ctx)
}

func (s *session) Acks(level string) {
	a, ok := deltamanager.ParseAcks(level)
	if !ok {
		panic(fmt.Sprintf("webapps: acks %q: want async, one, majority or all", level))
	}
	s.view.SetAcks(a)
}
