package table

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
)

// Table is all sessions of an app at one node, by key and by cookie hash.
type Table struct {
	seed    uint64
	buckets [Buckets]cell
	cookies [256]cookieShard // by the cookie hash's first byte
	sum     atomic.Uint64    // of all buckets' sums
	count   atomic.Int64
	buried  atomic.Int64

	newcomers newcomers

	limits  Limits
	most    atomic.Int64 // sessions; 0: no limit
	graves  graves
	evicted atomic.Int64 // tombstones forgotten for want of room
}

// New makes an empty table; the seed is that of digests, the same at all members.
func New(seed uint64, l Limits) *Table {
	if l.MaxTombs == 0 {
		l.MaxTombs = maxTombstones
	}
	t := &Table{seed: seed, limits: l}
	t.SetMaxSessions(l.MaxSessions)
	return t
}

// cookieShard is a part of the index from cookie hashes to sessions. Its lock is taken
// last, after a bucket's. It goes by 8 more of a cookie hash's random bytes, which takes
// a third less memory than all of them; so a caller that looks up compares the cookie hash. Two of
// a million sessions meet there once in 10^10 times; then the later one is found.
type cookieShard struct {
	mu      sync.RWMutex
	session map[uint64]*Session
}

func inShard(cookie CookieHash) uint64 { return binary.LittleEndian.Uint64(cookie[1:9]) }

// ByCookie finds the session that a cookie's hash belongs to, or a stranger: compare
// the cookie hash under the bucket's lock.
func (t *Table) ByCookie(cookie CookieHash) *Session {
	shard := &t.cookies[cookie[0]]
	shard.mu.RLock()
	defer shard.mu.RUnlock()
	return shard.session[inShard(cookie)]
}

func (t *Table) index(cookie CookieHash, s *Session) {
	shard := &t.cookies[cookie[0]]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if shard.session == nil {
		shard.session = make(map[uint64]*Session)
	}
	shard.session[inShard(cookie)] = s
}

func (t *Table) unindex(cookie CookieHash, s *Session) {
	shard := &t.cookies[cookie[0]]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if at := inShard(cookie); shard.session[at] == s {
		delete(shard.session, at)
	}
}

// Root is the sum of all buckets. Writers may be at work meanwhile.
func (t *Table) Root() uint64 { return t.sum.Load() }

// LockBoth locks the buckets of two keys, always in the order of the table, and
// returns them and what unlocks them.
func (t *Table) LockBoth(x, y Key) (a, b Bucket, unlock func()) {
	i, j := x.Bucket(), y.Bucket()
	if i == j {
		a = t.LockAt(i)
		return a, a, a.Unlock
	}
	lo, hi := t.LockAt(min(i, j)), t.LockAt(max(i, j))
	a, b = lo, hi
	if i > j {
		a, b = hi, lo
	}
	return a, b, func() {
		hi.Unlock()
		lo.Unlock()
	}
}

// Counts is how much there is of what.
type Counts struct {
	Sessions   int64
	Newcomers  int64 // those of them whose cookie never came back
	Tombstones int64
	Evicted    int64 // tombstones forgotten for want of room
}

// Counts counts.
func (t *Table) Counts() Counts {
	return Counts{t.count.Load(), t.newcomers.count.Load(), t.buried.Load(), t.evicted.Load()}
}

// Sessions is how many sessions there are.
func (t *Table) Sessions() int64 { return t.count.Load() }

// Unreturned is how many sessions there are whose cookie never came back.
func (t *Table) Unreturned() int64 { return t.newcomers.count.Load() }
