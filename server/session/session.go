package session

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/webapps"
	"github.com/nodeserver/nodeserver/webapps/codec"
)

// session is a request's webapps.Session and the driver that it stands on: a view of the
// delta manager's, and the ids of cookies.
type session struct {
	codec.Values

	public webapps.Session // whose driver this is
	visit  *visit
	view   *deltamanager.View

	mu     sync.Mutex
	id     string   // the cookie's id, "" for a session that belongs to no request
	former []string // ids that this request has given up

	sent string // the id that the user has; guarded by visit.mu, as the next one
	gone bool   // it had ended elsewhere when it was to be committed
}

var _ webapps.Driver = (*session)(nil)

func (s *session) App() string                { return s.visit.app.name }
func (s *session) ID() string                 { return s.view.Key().String() }
func (s *session) IsNew() bool                { return s.view.IsNew() }
func (s *session) Created() time.Time         { return s.view.Created() }
func (s *session) LastAccess() time.Time      { return s.view.LastAccess() }
func (s *session) MaxInactive() time.Duration { return s.view.MaxInactive() }
func (s *session) Names() []string            { return s.view.Names() }
func (s *session) Principal() string          { return s.view.Principal() }
func (s *session) Invalidate()                { s.view.Invalidate() }

func (s *session) SetMaxInactive(d time.Duration) { s.view.SetMaxInactive(d) }

func (s *session) Read(name string) ([]byte, error) {
	b, err := s.view.Get(name)
	return b, public(err)
}

func (s *session) Write(name string, value []byte) error { return public(s.view.Set(name, value)) }

func (s *session) Lock() error { return public(s.view.Lock(s.visit.ctx)) }

func (s *session) ChangeID() error { return s.changeID(s.view.ChangeCookie) }

func (s *session) SetPrincipal(name string) error {
	return s.changeID(func(cookie deltamanager.CookieHash) error { return s.view.SetPrincipal(name, cookie) })
}

// changeID draws a new id, and has the view take it.
func (s *session) changeID(take func(deltamanager.CookieHash) error) error {
	if s.view.Invalidated() {
		return webapps.ErrGone
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := newID()
	if err := take(cookieHash(id)); err != nil {
		return public(err)
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
	cookie, ok := s.view.CookieHash()
	if !ok {
		return ""
	}
	for _, id := range append(slices.Clip(s.former), s.id) {
		if cookieHash(id) == cookie {
			return id
		}
	}
	return ""
}

func (s *session) Commit(ctx context.Context) error {
	if s.visit.dropped.Load() {
		return webapps.ErrDiscarded
	}
	_, err := s.commit(ctx)
	return public(err)
}

// errLeft is of a session that its client will never have the cookie of.
var errLeft = errors.New("the client has gone before the answer: no session is made for it")

func (s *session) commit(ctx context.Context) (deltamanager.Result, error) {
	if s.visit.ctx.Err() != nil && s.view.Creates() {
		return deltamanager.Result{}, errLeft
	}
	if s.visit.app.trace == nil || !s.view.Pending() {
		return s.view.Commit(ctx)
	}
	end := s.visit.app.trace(ctx)
	result, err := s.view.Commit(ctx)
	end(result.Applied, result.Need, err)
	return result, err
}

func (s *session) Acks(level webapps.Acks) { s.view.SetAcks(levels[level]) }

// levels are the delta manager's ack levels.
var levels = [...]deltamanager.Acks{
	webapps.AcksAsync: deltamanager.Async, webapps.AcksOne: deltamanager.One,
	webapps.AcksMajority: deltamanager.Majority, webapps.AcksAll: deltamanager.All,
}
