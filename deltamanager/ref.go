package deltamanager

import (
	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
)

// Ref is a session that a request found or created. When the session ends, reads and
// commits fail with ErrGone, or with ErrMoved if another one goes on in its place.
// Safe for concurrent use.
type Ref struct {
	c      *Core
	s      *table.Session
	pauses uint64
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
