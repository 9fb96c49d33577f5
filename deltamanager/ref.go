package deltamanager

import (
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate"
	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	"github.com/nodeserver/nodeserver/membership"
)

// Ref is a session that a request found or created. When the session ends, reads and
// commits fail with ErrGone, or with ErrMoved if another one goes on in its place.
// Safe for concurrent use.
type Ref struct {
	c      *Core
	s      *table.Session
	pauses uint64
}

// Open finds the session of a cookie and notes that it is used now. The info is
// as it was before. It reports false for tags unknown here.
func (c *Core) Open(now time.Duration, tag Tag) (Ref, Info, bool) {
	c.enter(now)
	s := c.table.ByTag(tag)
	if s == nil {
		return Ref{}, Info{}, false
	}
	b := c.table.Lock(s.Key)
	a, ok := b.Serves(now, s, tag)
	if !ok {
		b.Unlock()
		return Ref{}, Info{}, false
	}
	info := s.Info(a)
	s.Touch(now)
	back := b.ComeBack(s)
	if back { // told at once: others would soon take it for over
		s.Tell(now)
		c.log.publish(&change{pos: c.log.reserve(), key: s.Key})
	}
	b.Unlock()
	if back {
		c.wakeAll(false)
	}
	return Ref{c, s, c.pauses.Load()}, info, true
}

// Key is the session's key.
func (r Ref) Key() Key { return r.s.Key }

// here is the session as it is in its bucket.
func (r Ref) here(b table.Bucket) (*table.Session, error) {
	s, moved := b.Current(r.s)
	switch {
	case s != nil:
		return s, nil
	case moved:
		return nil, ErrMoved
	}
	return nil, ErrGone
}

// Info is a copy of what is known now; false when the session has ended.
func (r Ref) Info() (Info, bool) {
	b := r.c.table.Lock(r.s.Key)
	defer b.Unlock()
	s, err := r.here(b)
	if err != nil {
		return Info{}, false
	}
	a, _ := s.Auth()
	return s.Info(a), true
}

// Get returns an attribute's value, nil if there is none. It must not be changed.
func (r Ref) Get(name string) ([]byte, error) {
	b := r.c.table.Lock(r.s.Key)
	defer b.Unlock()
	s, err := r.here(b)
	if err != nil {
		return nil, err
	}
	return s.Get(name), nil
}

// Names lists the attributes, sorted; none when the session has ended.
func (r Ref) Names() []string {
	b := r.c.table.Lock(r.s.Key)
	defer b.Unlock()
	var names []string
	if s, err := r.here(b); err == nil {
		names = s.Names()
	}
	return names
}

// Fits tells whether the session may take the writes, without making them.
func (r Ref) Fits(writes []Write) error {
	b := r.c.table.Lock(r.s.Key)
	defer b.Unlock()
	s, err := r.here(b)
	if err != nil {
		return err
	}
	return fit(b.Fits(s, writes))
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
