package deltamanager

import (
	"strings"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate"
	"github.com/nodeserver/nodeserver/membership"
)

// Ref is a session that a request found or created. When the session ends, reads and
// commits fail with ErrGone, or with ErrMoved if another one goes on in its place.
// Safe for concurrent use.
type Ref struct {
	c      *Core
	s      *session
	pauses uint64
}

// Info is a copy of what is known about a session beside its attributes.
type Info struct {
	Key         Key
	Created     time.Duration // on the node's monotonic clock
	LastAccess  time.Duration
	MaxInactive time.Duration // 0: no limit
	Auth        Auth
}

// Open finds the session of a cookie and notes that it is used now. The info is
// as it was before. It reports false for tags unknown here.
func (c *Core) Open(now time.Duration, tag Tag) (Ref, Info, bool) {
	c.enter(now)
	s := c.table.byTag(tag)
	if s == nil {
		return Ref{}, Info{}, false
	}
	b := c.table.of(s.key)
	b.mu.Lock()
	a, ok := c.serves(now, s, tag)
	if !ok {
		b.mu.Unlock()
		return Ref{}, Info{}, false
	}
	info := s.info(a)
	s.touch(now)
	back := c.table.comeBack(b, s)
	if back { // told at once: others would soon take it for over
		s.told = now
		c.log.publish(&change{pos: c.log.reserve(), key: s.key})
	}
	b.mu.Unlock()
	if back {
		c.wakeAll(false)
	}
	return Ref{c, s, c.stats.pauses.Load()}, info, true
}

// serves tells whether the session may be shown to who has the tag: all of it is
// here, and it is not over. Called with the bucket's lock held.
func (c *Core) serves(now time.Duration, s *session, tag Tag) (Auth, bool) {
	a, ok := s.auth()
	return a, ok && !s.removed && a.Tag == tag && !s.partial && !s.expired(now, c.cfg.AbsoluteLifetime, c.cfg.FirstInactive)
}

func (s *session) info(a Auth) Info {
	return Info{s.key, s.created, s.last, s.maxInactive(), a}
}

// Key is the session's key.
func (r Ref) Key() Key { return r.s.key }

// here is the session as it is in its bucket, whose lock is held.
func (r Ref) here(b *bucket) (*session, error) {
	if !r.s.removed {
		return r.s, nil
	}
	if s := b.session(r.s.key); s != nil { // it ended here, and came back from elsewhere
		return s, nil
	}
	if r.s.moved || b.tombs[r.s.key].next != nil {
		return nil, ErrMoved
	}
	return nil, ErrGone
}

// Info is a copy of what is known now; false when the session has ended.
func (r Ref) Info() (Info, bool) {
	b := r.c.table.of(r.s.key)
	b.mu.Lock()
	defer b.mu.Unlock()
	s, err := r.here(b)
	if err != nil {
		return Info{}, false
	}
	a, _ := s.auth()
	return s.info(a), true
}

// Get returns an attribute's value, nil if there is none. It must not be changed.
func (r Ref) Get(name string) ([]byte, error) {
	b := r.c.table.of(r.s.key)
	b.mu.Lock()
	defer b.mu.Unlock()
	s, err := r.here(b)
	if err != nil {
		return nil, err
	}
	return s.get(name), nil
}

// Names lists the attributes, sorted; none when the session has ended.
func (r Ref) Names() []string {
	b := r.c.table.of(r.s.key)
	b.mu.Lock()
	defer b.mu.Unlock()
	var names []string
	if s, err := r.here(b); err == nil {
		for i := range s.regs {
			if name := s.regs[i].name(); s.regs[i].value != nil && name != authName && !strings.HasPrefix(name, reserved) {
				names = append(names, name)
			}
		}
	}
	return names
}

// Fits tells whether the session may take the writes, without making them.
func (r Ref) Fits(writes []Write) error {
	b := r.c.table.of(r.s.key)
	b.mu.Lock()
	defer b.mu.Unlock()
	s, err := r.here(b)
	if err != nil {
		return err
	}
	return r.c.checkSize(s, writes)
}

// Pull returns the next payload for the member, nil if there is none.
func (c *Core) Pull(now time.Duration, to membership.ID, bulk bool) []byte {
	c.enter(now)
	l := c.link(to)
	switch {
	case l == nil:
		return nil
	case bulk:
		return c.pullBulk(now, l)
	}
	return c.pullLive(now, l)
}

// Receive applies one payload of the member. An error says what is wrong with
// the payload; whatever of it could be used was.
func (c *Core) Receive(now time.Duration, from membership.ID, bulk bool, payload []byte) error {
	c.enter(now)
	l := c.link(from)
	if l == nil {
		if c.isPast(from) && !mutate.Is(mutate.GhostLink) {
			return nil // late; a link to it would wait for its end for ever
		}
		l = c.ensureLink(now, from)
	}
	var err error
	if bulk {
		err = c.receiveBulk(now, l, payload)
	} else {
		err = c.receiveLive(now, l, payload)
	}
	if !c.ready.Load() { // whoever waits for this node need not wait for its next Tick
		c.stepRepair(now, l)
		c.checkReady(now)
	}
	return err
}
