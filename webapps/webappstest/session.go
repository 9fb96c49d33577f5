package webappstest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/webapps"
)

// Limits of a session, as a node has them by default.
const (
	maxSessionBytes = 1 << 20
	maxNames        = 1024
	maxNameBytes    = 256
)

var errGone = errors.New("session is gone")

// state is a session as committed.
type state struct {
	id      string
	created time.Time
	update  sync.Mutex // held by the request whose Updates are not committed yet

	mu         sync.Mutex
	dead       bool
	lastAccess time.Time
	inactive   time.Duration
	principal  string
	values     map[string]value
}

func newState() *state {
	var k [16]byte
	_, _ = rand.Read(k[:]) // never fails
	now := time.Now()
	return &state{
		id: hex.EncodeToString(k[:]), created: now, lastAccess: now,
		inactive: 30 * time.Minute, values: map[string]value{},
	}
}

func (st *state) isDead() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.dead
}

// session is one request's view of a state: what it wrote lies over what is
// committed.
type session struct {
	app      string
	st       *state
	isNew    bool
	access   time.Time
	onCommit func(*state) // called once, at the first commit of a new session; may be nil

	mu        sync.Mutex
	dead      bool
	told      bool              // onCommit was called
	writes    map[string]*value // nil: removed
	inactive  *time.Duration
	principal *string

	updating bool       // this view holds st.update
	updates  sync.Mutex // one Update at a time within the request
}

var _ webapps.Session = (*session)(nil)

func (n *node) session(st *state, isNew bool) *session {
	st.mu.Lock()
	defer st.mu.Unlock()
	return &session{app: n.app.Name, st: st, isNew: isNew, access: st.lastAccess, writes: map[string]*value{}}
}

func (s *session) ID() string            { return s.st.id }
func (s *session) IsNew() bool           { return s.isNew }
func (s *session) Created() time.Time    { return s.st.created }
func (s *session) LastAccess() time.Time { return s.access }

func (s *session) MaxInactive() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inactive != nil {
		return *s.inactive
	}
	s.st.mu.Lock()
	defer s.st.mu.Unlock()
	return s.st.inactive
}

func (s *session) SetMaxInactive(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d = max(d, 0)
	s.inactive = &d
}

func (s *session) Get(name string, into any) (bool, error) {
	s.mu.Lock()
	v, found := s.merged()[name]
	s.mu.Unlock()
	if !found {
		return false, nil
	}
	if err := v.decode(into); err != nil {
		return true, fmt.Errorf("app %s: read attribute %q: %w", s.app, name, err)
	}
	return true, nil
}

// merged is what the request sees now. Call it with mu held.
func (s *session) merged() map[string]value {
	s.st.mu.Lock()
	defer s.st.mu.Unlock()
	if s.dead || s.st.dead {
		return nil
	}
	all := maps.Clone(s.st.values)
	for name, v := range s.writes {
		if v == nil {
			delete(all, name)
		} else {
			all[name] = *v
		}
	}
	return all
}

func (s *session) Set(name string, val any) error {
	v, err := encode(val)
	if err == nil {
		err = s.write(name, v)
	}
	if err != nil {
		return fmt.Errorf("app %s: set attribute %q: %w", s.app, name, err)
	}
	return nil
}

func (s *session) write(name string, v value) error {
	if len(name) == 0 || len(name) > maxNameBytes {
		return fmt.Errorf("attribute name of %d bytes: want 1 to %d", len(name), maxNameBytes)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.merged()
	if all == nil {
		return errGone
	}
	all[name] = v
	if len(all) > maxNames {
		return fmt.Errorf("session too large: more than %d attributes", maxNames)
	}
	size := 0
	for n, v := range all {
		size += len(n) + v.size()
	}
	if size > maxSessionBytes {
		return fmt.Errorf("session too large: %d bytes are over its limit of %d", size, maxSessionBytes)
	}
	s.writes[name] = &v
	return nil
}

func (s *session) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes[name] = nil
}

func (s *session) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.merged()))
}

func (s *session) Update(name string, into any, change func() error) error {
	s.updates.Lock()
	defer s.updates.Unlock()
	if !s.updating { // kept until the writes are committed
		s.st.update.Lock()
		s.updating = true
	}
	if err := clearPointer(into); err != nil {
		return fmt.Errorf("app %s: update attribute %q: %w", s.app, name, err)
	}
	if _, err := s.Get(name, into); err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	return s.Set(name, pointee(into))
}

// ChangeID changes nothing an app can see: ID stays, and the cookie isn't its
// business.
func (s *session) ChangeID() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.merged() == nil {
		return fmt.Errorf("app %s: change session id: %w", s.app, errGone)
	}
	return nil
}

func (s *session) Invalidate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
}

func (s *session) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dead
}

func (s *session) Acks(level string) {
	if !slices.Contains([]string{"async", "one", "majority", "all"}, level) {
		panic(fmt.Sprintf("webapps: acks %q: want async, one, majority or all", level))
	}
}

func (s *session) Principal() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.principal != nil {
		return *s.principal
	}
	s.st.mu.Lock()
	defer s.st.mu.Unlock()
	return s.st.principal
}

func (s *session) SetPrincipal(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.principal = &name
}

// Commit makes the writes so far visible to other requests.
func (s *session) Commit(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("app %s: commit session: %w", s.app, err)
	}
	if s.apply() {
		s.onCommit(s.st)
	}
	s.release()
	return nil
}

// apply merges the writes into the state and reports whether the owner is to
// be told of a new session.
func (s *session) apply() (tell bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st.mu.Lock()
	defer s.st.mu.Unlock()
	s.st.dead = s.st.dead || s.dead
	s.st.lastAccess = time.Now()
	for name, v := range s.writes {
		if v == nil {
			delete(s.st.values, name)
		} else {
			s.st.values[name] = *v
		}
	}
	if s.inactive != nil {
		s.st.inactive = *s.inactive
	}
	if s.principal != nil {
		s.st.principal = *s.principal
	}
	clear(s.writes)
	tell = s.onCommit != nil && !s.told && !s.st.dead
	s.told = s.told || tell
	return tell
}

// release lets other requests' Updates go on. What this request wrote and
// didn't commit is gone with it.
func (s *session) release() {
	s.updates.Lock()
	defer s.updates.Unlock()
	if s.updating {
		s.updating = false
		s.st.update.Unlock()
	}
}
