package server

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/webapps"
)

// session is a request's webapps.Session: a view with values instead of bytes.
type session struct {
	app  string
	view *deltamanager.View
	ctx  context.Context //nolint:containedctx // the request's: bounds how long Update waits
	id   string          // the cookie's id, "" for a session that belongs to no request
	sent string          // the id that the user has
}

var _ webapps.Session = (*session)(nil)

func (s *session) ID() string                 { return s.view.Key().String() }
func (s *session) IsNew() bool                { return s.view.IsNew() }
func (s *session) Created() time.Time         { return s.view.Created() }
func (s *session) LastAccess() time.Time      { return s.view.LastAccess() }
func (s *session) MaxInactive() time.Duration { return s.view.MaxInactive() }
func (s *session) Names() []string            { return s.view.Names() }
func (s *session) Principal() string          { return s.view.Auth().Principal }
func (s *session) Invalidate()                { s.view.Invalidate() }

func (s *session) SetMaxInactive(d time.Duration) {
	if d <= 0 {
		d = -1
	}
	s.view.SetAuth(func(a *deltamanager.Auth) { a.MaxInactive = d })
}

func (s *session) Get(name string, into any) (bool, error) {
	return getValue(s.app, name, s.view.Get(name), into)
}

// getValue is Session.Get for an attribute's bytes.
func getValue(app, name string, b []byte, into any) (bool, error) {
	if b == nil {
		return false, nil
	}
	if err := decodeValue(b, into); err != nil {
		return true, fmt.Errorf("app %s: read attribute %q: %w", app, name, err)
	}
	return true, nil
}

func (s *session) Set(name string, value any) error {
	b, err := encodeValue(value)
	if err == nil {
		err = s.view.Set(name, b)
	}
	return s.explain("set", name, err)
}

func (s *session) Remove(name string) {
	_ = s.view.Set(name, nil) // only fails for names that nothing can be stored under
}

func (s *session) Update(name string, into any, change func() error) error {
	to, err := target(into)
	if err != nil {
		return s.explain("update", name, err)
	}
	var own error // of change: the app gets it as it is
	err = s.view.Update(s.ctx, name, func(old []byte) ([]byte, error) {
		to.SetZero()
		if old != nil {
			if err := decodeValue(old, into); err != nil {
				return nil, err
			}
		}
		if own = change(); own != nil {
			return nil, own
		}
		return encodeValue(reflect.ValueOf(into).Elem().Interface())
	})
	if own != nil {
		return own
	}
	return s.explain("update", name, err)
}

func (s *session) explain(what, name string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, deltamanager.ErrTooLarge):
		return fmt.Errorf("app %s: %s attribute %q: %w (limits: sessions.max_session_bytes, %d attributes)", s.app, what, name, err, deltamanager.MaxNames)
	}
	return fmt.Errorf("app %s: %s attribute %q: %w", s.app, what, name, err)
}

func (s *session) ChangeID() error {
	if s.view.Invalidated() {
		return fmt.Errorf("app %s: change session id: %w", s.app, deltamanager.ErrGone)
	}
	id := newID()
	tag := tagOf(id)
	s.id = id
	s.view.SetAuth(func(a *deltamanager.Auth) { a.Tag = tag })
	return nil
}

func (s *session) SetPrincipal(name string) {
	s.view.SetAuth(func(a *deltamanager.Auth) { a.Principal = name })
	_ = s.ChangeID() // fails for an invalidated session only, whose principal no longer matters
}

func (s *session) Commit(ctx context.Context) error {
	if _, err := s.view.Commit(ctx); err != nil {
		return fmt.Errorf("app %s: commit session: %w", s.app, err)
	}
	return nil
}

func (s *session) Acks(level string) {
	a, ok := deltamanager.ParseAcks(level)
	if !ok {
		panic(fmt.Sprintf("webapps: acks %q: want async, one, majority or all", level))
	}
	s.view.SetAcks(a)
}
