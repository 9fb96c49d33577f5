package table

import (
	"encoding/binary"
	"maps"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
)

// cell is one of the table's parts: its sessions, its tombstones, its sum.
type cell struct {
	sum atomic.Uint64 // of the digests of sessions and tombstones; written under mu

	mu       sync.Mutex
	sessions []entry      // by key; a map takes three times the memory
	tombs    map[Key]tomb // of invalidated sessions
}

// entry is a session in its bucket, with the first half of its key.
type entry struct {
	prefix uint64
	*Session
}

// Bucket is a bucket whose lock is held: all that reads or changes its sessions and
// tombstones goes through one, and a session that was found in one is not looked at any
// more, but for its Key, after unlock.
type Bucket struct {
	*cell
	t *Table
}

// Lock locks the bucket of the key.
func (t *Table) Lock(k Key) Bucket { return t.LockAt(k.Bucket()) }

// LockAt locks the bucket of that number.
func (t *Table) LockAt(n int) Bucket {
	b := Bucket{&t.buckets[n], t}
	b.mu.Lock()
	return b
}

// Unlock gives up the bucket.
func (b Bucket) Unlock() { b.mu.Unlock() }

// find returns where in the bucket the session with that key is, or would be.
func (b Bucket) find(k Key) (int, bool) {
	prefix := binary.BigEndian.Uint64(k[:])
	i := sort.Search(len(b.sessions), func(i int) bool {
		e := &b.sessions[i]
		return e.prefix > prefix || e.prefix == prefix && compareKeys(e.Key, k) >= 0
	})
	return i, i < len(b.sessions) && b.sessions[i].Key == k
}

// Session is the one with that key, nil if it is not here.
func (b Bucket) Session(k Key) *Session {
	if i, ok := b.find(k); ok {
		return b.sessions[i].Session
	}
	return nil
}

// add puts a new session into the bucket.
func (b Bucket) add(s *Session) {
	if n := len(b.sessions); n == cap(b.sessions) { // append would double it
		b.sessions = append(make([]entry, 0, n+n/4+1), b.sessions...)
	}
	i, _ := b.find(s.Key)
	b.sessions = slices.Insert(b.sessions, i, entry{binary.BigEndian.Uint64(s.Key[:]), s})
	b.grow(s.digest(b.t.seed))
	b.t.count.Add(1)
	if !s.Returned {
		b.t.newcomers.count.Add(1)
	}
}

// Remove takes a session out of the bucket.
func (b Bucket) Remove(s *Session) {
	i, _ := b.find(s.Key)
	if b.sessions = slices.Delete(b.sessions, i, i+1); len(b.sessions) == 0 {
		b.sessions = nil
	}
	b.grow(-s.digest(b.t.seed))
	b.t.count.Add(-1)
	if !s.Returned {
		b.t.newcomers.count.Add(-1)
	}
	s.removed = true
	if a, ok := s.Auth(); ok {
		b.t.unindex(a.CookieHash, s)
	}
}

// bury removes the session, if it is there, and remembers until then that it
// is over. Twice is once. forgetTombs makes room later.
func (b Bucket) bury(k Key, at tomb) {
	if s := b.Session(k); s != nil {
		s.moved = at.next != nil
		b.Remove(s)
	}
	if _, dead := b.tombs[k]; dead {
		return
	}
	if b.tombs == nil {
		b.tombs = make(map[Key]tomb)
	}
	b.tombs[k] = at
	b.grow(deadDigest(k, b.t.seed))
	b.t.buried.Add(1)
	b.t.graves.add(k, at.rank)
}

// forget drops a tombstone.
func (b Bucket) forget(k Key) {
	delete(b.tombs, k)
	b.grow(-deadDigest(k, b.t.seed))
	b.t.buried.Add(-1)
}

// Merge merges registers into a session of the bucket, and keeps the sum and the
// index right. It puts the names of those that changed into changed, which is empty.
func (b Bucket) Merge(s *Session, regs []Register, changed []string) []string {
	before := s.digest(b.t.seed)
	if s.Regs == nil {
		s.Regs = make([]Register, 0, len(regs))
	}
	for _, r := range regs {
		if !s.merge(b.t.seed, r) {
			continue
		}
		name := r.Name()
		changed = append(changed, name)
		switch name {
		case authName:
			if a, ok := s.Auth(); ok {
				b.t.index(a.CookieHash, s)
			}
		case InactiveName:
			s.limit = limitOf(parseInactive(r.Value, b.t.limits.MaxInactive))
		}
	}
	if len(changed) > 0 {
		b.grow(s.digest(b.t.seed) - before)
	}
	return changed
}

// complete takes note that nothing of the session is missing. It reports
// whether that was news.
func (b Bucket) complete(s *Session) bool {
	if !s.partial {
		return false
	}
	before := s.digest(b.t.seed)
	s.partial = false
	b.grow(s.digest(b.t.seed) - before)
	return true
}

// grow changes the bucket's sum, and with it that of all.
func (b Bucket) grow(by uint64) {
	b.sum.Add(by)
	b.t.sum.Add(by)
}

// Dead are the bucket's tombstones in a fixed order, so that nothing depends on
// the order of a map.
func (b Bucket) Dead() []Key { return slices.SortedFunc(maps.Keys(b.tombs), compareKeys) }

func compareKeys(a, b Key) int { return slices.Compare(a[:], b[:]) }

// drop takes a register out of a session that no request has seen yet.
func (b Bucket) drop(s *Session, i int) {
	before := s.digest(b.t.seed)
	s.hash -= s.Regs[i].hash(s.Key, b.t.seed)
	s.Regs = slices.Delete(s.Regs, i, i+1)
	b.grow(s.digest(b.t.seed) - before)
}

// ComeBack notes that the session's cookie was presented, or that the session need not wait for
// that. It reports whether that was news.
func (b Bucket) ComeBack(s *Session) bool {
	if s.Returned {
		return false
	}
	before := s.digest(b.t.seed)
	s.Returned = true
	b.t.newcomers.count.Add(-1)
	b.grow(s.digest(b.t.seed) - before)
	return true
}
