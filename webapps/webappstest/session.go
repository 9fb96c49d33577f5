package webappstest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/webapps"
	"github.com/nodeserver/nodeserver/webapps/codec"
)

// What a node has by default.
const (
	maxSessionBytes = 1 << 20
	maxInactive     = 30 * time.Minute
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
	inactive   time.Duration // 0: no limit
	principal  string
	values     attributes
}

// attributes are values as package codec encodes them; nil: removed, and the mark counts
// as a name, as on a node.
type attributes map[string][]byte

// with returns a copy that has the writes, too.
func (a attributes) with(writes attributes) attributes {
	all := maps.Clone(a)
	maps.Copy(all, writes)
	return all
}

func (a attributes) size() (n int) {
	for name, b := range a {
		n += len(name) + len(b)
	}
	return n
}

// grow tells whether a session that has a may become one that has b.
func (a attributes) grow(b attributes) error {
	if size := b.size(); size > maxSessionBytes && size > a.size() || len(b) > webapps.MaxAttributes {
		return webapps.ErrTooLarge
	}
	return nil
}

func (st *state) isDead() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.dead
}

// expired tells whether nobody has used the session for too long.
func (st *state) expired() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.inactive > 0 && time.Since(st.lastAccess) >= st.inactive
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

// session is one request's view of a state, and the driver of its webapps.Session: what
// it wrote lies over what is committed.
type session struct {
	codec.Values

	public webapps.Session // whose driver this is
	node   *node
	visit  *visit // nil: of no request
	isNew  bool
	access time.Time

	mu    sync.Mutex // guards st, too
	st    *state
	ended bool // by this request
	pending

	updates  sync.Mutex // guards updating, and is taken before mu
	updating *state     // whose update lock this view holds
}

// pending is what is not committed.
type pending struct {
	writes    attributes
	inactive  *time.Duration
	principal *string
	rename    string // the id to be; "": as it is
}

var _ webapps.Driver = (*session)(nil)

// session makes a request's view of an existing session.
func (n *node) session(st *state) *session {
	st.mu.Lock()
	defer st.mu.Unlock()
	return n.view(&session{st: st, access: st.lastAccess})
}

// newSession makes one that exists, and has a cookie, once it is committed.
func (n *node) newSession() *session {
	now := time.Now()
	st := &state{id: randomText(), created: now, lastAccess: now, inactive: maxInactive, values: attributes{}}
	return n.view(&session{st: st, isNew: true, access: now, pending: pending{rename: st.id}})
}

func (n *node) view(s *session) *session {
	s.node, s.writes = n, attributes{}
	s.public = webapps.MakeSession(s)
	return s
}

func randomText() string {
	var k [16]byte
	_, _ = rand.Read(k[:]) // never fails
	return hex.EncodeToString(k[:])
}

func (s *session) App() string           { return s.node.app.Name }
func (s *session) IsNew() bool           { return s.isNew }
func (s *session) LastAccess() time.Time { return s.access }
func (s *session) Acks(webapps.Acks)     {} // there is no other node

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
	s.inactive = &d
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

func (s *session) Read(name string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, nil
	}
	if b, written := s.writes[name]; written {
		return b, nil
	}
	s.st.mu.Lock()
	defer s.st.mu.Unlock()
	if err := s.st.over(); err != nil {
		return nil, err
	}
	return s.st.values[name], nil
}

func (s *session) Write(name string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return webapps.ErrGone
	}
	s.st.mu.Lock()
	defer s.st.mu.Unlock()
	if err := s.st.over(); err != nil {
		return err
	}
	if value != nil {
		all := s.st.values.with(s.writes)
		all[name] = value
		if err := s.st.values.grow(all); err != nil {
			return err
		}
	}
	s.writes[name] = value
	return nil
}

func (s *session) Names() (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil
	}
	s.st.mu.Lock()
	defer s.st.mu.Unlock()
	all := s.writes
	if s.st.over() == nil {
		all = s.st.values.with(s.writes)
	}
	for name, b := range all {
		if b != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (s *session) Lock() error {
	s.updates.Lock()
	defer s.updates.Unlock()
	if s.updating == nil {
		st := s.now()
		st.update.Lock()
		s.updating = st
	}
	return nil
}

// release lets other requests' Updates go on.
func (s *session) release() {
	s.updates.Lock()
	defer s.updates.Unlock()
	if s.updating != nil {
		s.updating.update.Unlock()
		s.updating = nil
	}
}

func (s *session) ChangeID() error { return s.identify(nil) }

func (s *session) SetPrincipal(name string) error { return s.identify(&name) }

// identify gives the user another cookie, and another name unless that is nil.
func (s *session) identify(principal *string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return webapps.ErrGone
	}
	if principal != nil {
		s.principal = principal
	}
	s.rename = randomText()
	return nil
}

func (s *session) Invalidate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended, s.pending = true, pending{}
}

// discard drops what is not committed.
func (s *session) discard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = pending{writes: attributes{}}
}

// now is the session's state, which a new id replaces by another one.
func (s *session) now() *state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st
}

func (s *session) invalidated() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// Commit makes the writes so far visible to other requests, and tells listeners.
func (s *session) Commit(context.Context) error {
	if s.visit != nil && s.visit.drops() {
		return webapps.ErrDiscarded
	}
	defer s.release()
	if s.invalidated() {
		if s.cookie() != "" { // else nobody has ever seen it
			s.node.end(s.now(), webapps.Invalidated)
		}
		return nil
	}
	done, err := s.merge()
	if err == nil {
		done.tell(s.node)
	}
	return err
}

// changes are what a commit did.
type changes struct {
	st               *state
	created, renamed bool
	changed          []string // attributes, sorted
}

// tell tells the node's listeners, in a node's order.
func (c changes) tell(n *node) {
	if c.created {
		n.tell(c.st, func(l webapps.Listener, e webapps.Event) {
			if l.Created != nil {
				l.Created(e)
			}
		})
	}
	if c.renamed {
		n.tell(c.st, func(l webapps.Listener, e webapps.Event) {
			if l.IDChanged != nil {
				l.IDChanged(e)
			}
		})
	}
	for _, name := range c.changed {
		n.tell(c.st, func(l webapps.Listener, e webapps.Event) {
			if l.AttributeChanged != nil {
				l.AttributeChanged(e, name)
			}
		})
	}
}

// lost tells whether another request has changed the session's id, while this one has
// written nothing that is not committed.
func (s *session) lost() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st.mu.Lock()
	defer s.st.mu.Unlock()
	return errors.Is(s.st.over(), webapps.ErrIDChanged) && len(s.writes) == 0 && s.inactive == nil && s.rename == ""
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
	all := st.values.with(s.writes)
	if err := st.values.grow(all); err != nil {
		return done, err
	}
	if done.created = st.cookie == ""; !done.created && s.rename != "" {
		done.renamed = true
		next := &state{id: s.rename, created: st.created, inactive: st.inactive, principal: st.principal}
		maps.DeleteFunc(all, func(_ string, b []byte) bool { return b == nil }) // marks stay behind
		st.dead, st.moved = true, true
		s.node.rename(st, st.cookie, "")
		next.mu.Lock()
		defer next.mu.Unlock()
		st, s.st = next, next
	}
	st.values, st.lastAccess = all, time.Now()
	done.changed = slices.Sorted(maps.Keys(s.writes))
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
	s.pending, done.st = pending{writes: attributes{}}, st
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
