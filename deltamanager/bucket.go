package deltamanager

import (
	"encoding/binary"
	"maps"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// bucket is one of the table's parts: its sessions, its tombstones, its sum.
type bucket struct {
	sum atomic.Uint64 // of the digests of sessions and tombstones; written under mu

	mu       sync.Mutex
	sessions []entry      // by key; a map takes three times the memory
	tombs    map[Key]tomb // of invalidated sessions
}

// entry is a session in its bucket, with the first half of its key.
type entry struct {
	prefix uint64
	*session
}

// find returns where in the bucket the session with that key is, or would be.
func (b *bucket) find(k Key) (int, bool) {
	prefix := binary.BigEndian.Uint64(k[:])
	i := sort.Search(len(b.sessions), func(i int) bool {
		e := &b.sessions[i]
		return e.prefix > prefix || e.prefix == prefix && compareKeys(e.key, k) >= 0
	})
	return i, i < len(b.sessions) && b.sessions[i].key == k
}

// session is the one with that key, nil if it is not here.
func (b *bucket) session(k Key) *session {
	if i, ok := b.find(k); ok {
		return b.sessions[i].session
	}
	return nil
}

// table is all sessions of an app at one node, by key and by tag.
type table struct {
	seed    uint64
	buckets [Buckets]bucket
	tags    [256]tagShard // by the tag's first byte
	sum     atomic.Uint64 // of all buckets' sums
	count   atomic.Int64
	tombs   atomic.Int64

	newcomers newcomers

	graves   graves
	maxTombs int          // in all buckets
	evicted  atomic.Int64 // tombstones forgotten for want of room
}

// tagShard is a part of the index from tags to sessions. Its lock is taken
// last, after a bucket's. It goes by 8 more of a tag's random bytes, which takes
// a third less memory than all of them; so who looks up compares the tag. Two of
// a million sessions meet there once in 10^10 times; then the later one is found.
type tagShard struct {
	mu      sync.RWMutex
	session map[uint64]*session
}

func inShard(tag Tag) uint64 { return binary.LittleEndian.Uint64(tag[1:9]) }

func (t *table) of(k Key) *bucket { return &t.buckets[k.bucket()] }

// byTag finds the session that a cookie's tag belongs to, or a stranger: compare
// the tag under the bucket's lock.
func (t *table) byTag(tag Tag) *session {
	shard := &t.tags[tag[0]]
	shard.mu.RLock()
	defer shard.mu.RUnlock()
	return shard.session[inShard(tag)]
}

func (t *table) index(tag Tag, s *session) {
	shard := &t.tags[tag[0]]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if shard.session == nil {
		shard.session = make(map[uint64]*session)
	}
	shard.session[inShard(tag)] = s
}

func (t *table) unindex(tag Tag, s *session) {
	shard := &t.tags[tag[0]]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if at := inShard(tag); shard.session[at] == s {
		delete(shard.session, at)
	}
}

// add puts a new session into the bucket. Called with b.mu held.
func (t *table) add(b *bucket, s *session) {
	if n := len(b.sessions); n == cap(b.sessions) { // append would double it
		b.sessions = append(make([]entry, 0, n+n/4+1), b.sessions...)
	}
	i, _ := b.find(s.key)
	b.sessions = slices.Insert(b.sessions, i, entry{binary.BigEndian.Uint64(s.key[:]), s})
	t.grow(b, s.digest(t.seed))
	t.count.Add(1)
	if !s.returned {
		t.newcomers.count.Add(1)
	}
}

// remove takes a session out of the bucket. Called with b.mu held.
func (t *table) remove(b *bucket, s *session) {
	i, _ := b.find(s.key)
	if b.sessions = slices.Delete(b.sessions, i, i+1); len(b.sessions) == 0 {
		b.sessions = nil
	}
	t.grow(b, -s.digest(t.seed))
	t.count.Add(-1)
	if !s.returned {
		t.newcomers.count.Add(-1)
	}
	s.removed = true
	if a, ok := s.auth(); ok {
		t.unindex(a.Tag, s)
	}
}

// bury removes the session, if it is there, and remembers until then that it
// is over. Twice is once. Called with b.mu held; forgetTombs makes room later.
func (t *table) bury(b *bucket, k Key, at tomb) {
	if s := b.session(k); s != nil {
		s.moved = at.next != nil
		t.remove(b, s)
	}
	if _, dead := b.tombs[k]; dead {
		return
	}
	if b.tombs == nil {
		b.tombs = make(map[Key]tomb)
	}
	b.tombs[k] = at
	t.grow(b, deadDigest(k, t.seed))
	t.tombs.Add(1)
	t.graves.add(k, at.rank)
}

// forget drops a tombstone. Called with b.mu held.
func (t *table) forget(b *bucket, k Key) {
	delete(b.tombs, k)
	t.grow(b, -deadDigest(k, t.seed))
	t.tombs.Add(-1)
}

// merge merges registers into a session of the bucket, and keeps the sum and the
// index right. It puts the names of those that changed into changed, which is empty. Called with b.mu held.
func (t *table) merge(b *bucket, s *session, regs []register, configured time.Duration, changed []string) []string {
	before := s.digest(t.seed)
	if s.regs == nil {
		s.regs = make([]register, 0, len(regs))
	}
	for _, r := range regs {
		if !s.merge(t.seed, r) {
			continue
		}
		name := r.name()
		changed = append(changed, name)
		switch name {
		case authName:
			if a, ok := s.auth(); ok {
				t.index(a.Tag, s)
			}
		case inactiveName:
			s.limit = limitOf(parseInactive(r.value, configured))
		}
	}
	if len(changed) > 0 {
		t.grow(b, s.digest(t.seed)-before)
	}
	return changed
}

// complete takes note that nothing of the session is missing. It reports
// whether that was news. Called with b.mu held.
func (t *table) complete(b *bucket, s *session) bool {
	if !s.partial {
		return false
	}
	before := s.digest(t.seed)
	s.partial = false
	t.grow(b, s.digest(t.seed)-before)
	return true
}

// grow changes the bucket's sum, and with it that of all. Called with b.mu held.
func (t *table) grow(b *bucket, by uint64) {
	b.sum.Add(by)
	t.sum.Add(by)
}

// root is the sum of all buckets. Writers may be at work meanwhile.
func (t *table) root() uint64 { return t.sum.Load() }

// dead are the bucket's tombstones in a fixed order, so that nothing depends on
// the order of a map. Called with b.mu held.
func (b *bucket) dead() []Key { return slices.SortedFunc(maps.Keys(b.tombs), compareKeys) }

func compareKeys(a, b Key) int { return slices.Compare(a[:], b[:]) }
