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
	"github.com/nodeserver/nodeserver/webapps/codec"
)

// Limits of a session, as a node has them by default.
const (
	maxSessionBytes = 1 << 20
	maxNames        = 1024
	maxNameBytes    = 256
)

// state is a session as committed.
type state struct {
	id      string
	created time.Time
	update  sync.Mutex // held by the request whose Updates are not committed yet

	mu         sync.Mutex
	dead       bool
	moved      bool   // dead, and another one goes on in its place
	cookie     string // changes with ChangeID; "" before the first commit
	lastAccess time.Time
	inactive   time.Duration
	principal  string
	values     map[string][]byte // as package codec encodes them
}

func (st *state) isDead() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.dead
}

// over says that the session has ended, and why; nil: it has not. Call it with mu held.
func (st *state) over() error {
	switch {
	case st.moved:
		return webapps.ErrIDChanged
	case st.dead:
		return webapps.ErrGone
	}
	return nil
}

// session is one request's view of a state: what it wrote lies over what is
// committed.
type session struct {
	node   *node
	st     *state
	isNew  bool
	access time.Time

	mu        sync.Mutex // guards st, too
	dead      bool
	writes    map[string][]byte // nil: removed
	inactive  *time.Duration
	principal *string
	rename    string // the id to be, after ChangeID; "": none

	updating *state     // whose update lock this view holds
	updates  sync.Mutex // one Update at a time within the request
}

var _ webapps.Session = (*session)(nil)

// session makes a request's view of an existing session.
func (n *node) session(st *state) *session {
	st.mu.Lock()
	defer st.mu.Unlock()
	return &session{node: n, st: st, access: st.lastAccess, writes: map[string][]byte{}}
}

// newSession makes one that exists, and has a cookie, once it is committed.
func (n *node) newSession() *session {
	now := time.Now()
	st := &state{id: randomText(), created: now, lastAccess: now, inactive: 30 * time.Minute, values: map[string][]byte{}}
	return &session{node: n, st: st, isNew: true, access: now, writes: map[string][]byte{}, rename: st.id}
}

func randomText() string {
	var k [16]byte
	_, _ = rand.Read(k[:]) // never fails
	return hex.EncodeToString(k[:])
}

func (s *session) IsNew() bool           { return s.isNew }
func (s *session) LastAccess() time.Time { return s.access }

func (s *session) ID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rename != "" {
		return s.rename
	}
	return s.st.id
}

func (s *session) Created() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st.created
}

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
	b, err := s.merged()[name], s.over()
	s.mu.Unlock()
	if err != nil {
		return false, fmt.Errorf("app %s: read attribute %q: %w", s.node.app.Name, name, err)
	}
	return getValue(s.node.app.Name, name, b, into)
}

// getValue is Session.Get for an attribute's value.
func getValue(app, name string, b []byte, into any) (bool, error) {
	if b == nil {
		return false, nil
	}
	if err := codec.Decode(b, into); err != nil {
		return true, fmt.Errorf("app %s: read attribute %q: %w", app, name, err)
	}
	return true, nil
}

// over says that another request has ended the session, and how; nil: none has. Call it
// with mu held.
func (s *session) over() error {
	if s.dead {
		return nil
	}
	s.st.mu.Lock()
	defer s.st.mu.Unlock()
	return s.st.over()
}

// merged is what the request sees now. Call it with mu held.
func (s *session) merged() map[string][]byte {
	s.st.mu.Lock()
	defer s.st.mu.Unlock()
	if s.dead || s.st.dead {
		return nil
	}
	all := maps.Clone(s.st.values)
	for name, b := range s.writes {
		if b == nil {
			delete(all, name)
		} else {
			all[name] = b
		}
	}
	return all
}

func (s *session) Set(name string, val any) error {
	b, err := codec.Encode(val)
	if err == nil {
		err = s.write(name, b)
	}
	if err != nil {
		return fmt.Errorf("app %s: set attribute %q: %w", s.node.app.Name, name, err)
	}
	return nil
}

func (s *session) write(name string, b []byte) error {
	if len(name) == 0 || len(name) > maxNameBytes {
		return fmt.Errorf("attribute name of %d bytes: want 1 to %d", len(name), maxNameBytes)
	}
	if name[0] == 0 {
		return fmt.Errorf("attribute name %q: names must not begin with a zero byte", name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.merged()
	if err := s.over(); err != nil {
		return err
	}
	if all == nil {
		return webapps.ErrGone
	}
	all[name] = b
	if len(all) > maxNames {
		return fmt.Errorf("%w: more than %d attributes", webapps.ErrTooLarge, maxNames)
	}
	size := 0
	for n, b := range all {
		size += len(n) + len(b)
	}
	if size > maxSessionBytes {
		return fmt.Errorf("%w: %d bytes are over its limit of %d", webapps.ErrTooLarge, size, maxSessionBytes)
	}
	s.writes[name] = b
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
	if s.updating == nil { // kept until the writes are committed
		s.mu.Lock()
		st := s.st
		s.mu.Unlock()
		st.update.Lock()
		s.updating = st
	}
	to, err := codec.Target(into)
	if err != nil {
		return fmt.Errorf("app %s: update attribute %q: %w", s.node.app.Name, name, err)
	}
	to.SetZero()
	if _, err := s.Get(name, into); err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	return s.Set(name, to.Interface())
}

func (s *session) ChangeID() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return fmt.Errorf("app %s: change session id: %w", s.node.app.Name, webapps.ErrGone)
	}
	s.rename = randomText()
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
	s.rename = randomText()
}

// Commit makes the writes so far visible to other requests, and tells listeners.
func (s *session) Commit(ctx context.Context) error {
	err := context.Cause(ctx)
	if err == nil {
		err = s.apply()
	}
	s.release()
	if err != nil {
		return fmt.Errorf("app %s: commit session: %w", s.node.app.Name, err)
	}
	return nil
}

func (s *session) apply() error {
	if s.ended() {
		if s.cookie() != "" { // else nobody has ever seen it
			s.node.end(s.st, webapps.Invalidated)
		}
		return nil
	}
	done, err := s.merge()
	if errors.Is(err, webapps.ErrIDChanged) && !s.pending() {
		return nil // it has only read, and what it read was its user's
	}
	if err != nil {
		return err
	}
	s.node.tell(s.st, func(l webapps.Listener, e webapps.Event) {
		if done.created && l.Created != nil {
			l.Created(e)
		}
		for _, name := range done.changed {
			if l.AttributeChanged != nil {
				l.AttributeChanged(e, name)
			}
		}
		if done.renamed && l.IDChanged != nil {
			l.IDChanged(e)
		}
	})
	return nil
}

// changes are what a commit did.
type changes struct {
	created, renamed bool
	changed          []string // attributes, sorted
}

// movedAway tells whether another request has changed the session's id.
func (s *session) movedAway() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Is(s.over(), webapps.ErrIDChanged)
}

// pending tells whether the request has written what is not committed.
func (s *session) pending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.writes) > 0 || s.inactive != nil || s.rename != ""
}

// merge puts the writes into the state; a new id makes a new one.
func (s *session) merge() (done changes, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.st
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := st.over(); err != nil {
		return done, err
	}
	if done.created = st.cookie == ""; !done.created && s.rename != "" {
		done.renamed = true
		next := &state{id: s.rename, created: st.created, inactive: st.inactive, principal: st.principal, values: maps.Clone(st.values)}
		st.dead, st.moved = true, true
		s.node.rename(st, st.cookie, "")
		next.mu.Lock()
		defer next.mu.Unlock()
		st, s.st = next, next
	}
	st.lastAccess = time.Now()
	for name, b := range s.writes {
		_, there := st.values[name]
		switch {
		case b != nil:
			st.values[name] = b
		case there:
			delete(st.values, name)
		default:
			continue
		}
		done.changed = append(done.changed, name)
	}
	slices.Sort(done.changed)
	if s.inactive != nil {
		st.inactive = *s.inactive
	}
	if s.principal != nil {
		st.principal = *s.principal
	}
	if s.rename != "" {
		st.id, st.cookie = s.rename, randomText()+"."+NodeName
		s.node.rename(st, "", st.cookie)
	}
	clear(s.writes)
	s.inactive, s.principal, s.rename = nil, nil, ""
	return done, nil
}

// cookie is what the user's cookie should be; "" if there is nothing to have
// one for.
func (s *session) cookie() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st.mu.Lock()
	defer s.st.mu.Unlock()
	if s.st.dead {
		return ""
	}
	return s.st.cookie
}

// release lets other requests' Updates go on. What this request wrote and
// didn't commit is gone with it.
func (s *session) release() {
	s.updates.Lock()
	defer s.updates.Unlock()
	if s.updating != nil {
		s.updating.update.Unlock()
		s.updating = nil
	}
}
