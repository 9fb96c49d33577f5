package table

import (
	"iter"
	"time"
)

// Write is one register that a request wrote; a nil value removes it.
type Write struct {
	Name  string
	Value []byte
}

// Fits tells whether the session may grow by the writes.
func (b Bucket) Fits(s *Session, writes []Write) bool { return b.t.limits.fit(s, writes) }

// FitsNew tells whether a session may be made of the writes.
func (t *Table) FitsNew(writes []Write) bool { return t.limits.fit(&Session{}, writes) }

// fit looks at attributes only: what the core adds of its own is bounded by the wire. A
// session that is over a limit, since two members each let it grow, may shrink.
func (l *Limits) fit(s *Session, writes []Write) bool {
	had, was := s.attributes()
	names, size := had, was
	for _, w := range writes {
		i, found := s.Find(w.Name)
		if found {
			size += len(w.Value) - len(s.Regs[i].Value)
		} else {
			size += len(w.Name) + len(w.Value)
			names++
		}
	}
	return (size <= was || size <= l.MaxBytes) && (names <= had || names <= MaxNames)
}

// Serves tells whether the session may be shown to a user with this cookie hash: all of it is
// here, and it is not over.
func (b Bucket) Serves(now time.Duration, s *Session, cookie CookieHash) (Auth, bool) {
	a, ok := s.Auth()
	return a, ok && !s.removed && a.CookieHash == cookie && !s.partial && !b.Expired(s, now)
}

// Current is the session as it is now, which was found here before; nil: it has
// ended, and moved tells whether another one goes on in its place.
func (b Bucket) Current(s *Session) (now *Session, moved bool) {
	if !s.removed {
		return s, false
	}
	if o := b.Session(s.Key); o != nil { // it ended here, and came back from elsewhere
		return o, false
	}
	return nil, s.moved || b.tombs[s.Key].next != nil
}

// Peek is what is known of the session that may be shown to a user with this cookie hash.
func (t *Table) Peek(now time.Duration, cookie CookieHash) (Info, bool) {
	s := t.ByCookie(cookie)
	if s == nil {
		return Info{}, false
	}
	b := t.Lock(s.Key)
	defer b.Unlock()
	a, ok := b.Serves(now, s, cookie)
	if !ok {
		return Info{}, false
	}
	return s.Info(a), true
}

// Copy is what is here of a session.
type Copy struct {
	Key   Key    // zero: unknown
	State uint64 // of the copy
	Whole bool   // it can be served as it is
}

// Holds finds a session, and tells whether it can be served as it is here: of one
// that seems over, others may know a later use.
func (t *Table) Holds(now time.Duration, cookie CookieHash) Copy {
	s := t.ByCookie(cookie)
	if s == nil {
		return Copy{}
	}
	b := t.Lock(s.Key)
	defer b.Unlock()
	_, ok := b.Serves(now, s, cookie)
	return Copy{s.Key, s.State(), ok}
}

// DeadDelta says that the session is over, if there is a tombstone.
func (b Bucket) DeadDelta(now time.Duration, k Key) (Delta, bool) {
	t, ok := b.tombs[k]
	if !ok {
		return Delta{}, false
	}
	return Delta{Key: k, Dead: true, Moved: t.next != nil, Age: max(0, b.t.limits.tombLife()-(t.until-now)), Rank: t.rank}, true
}

// Whole is all there is to say of a session, if anything; to be encoded before unlock.
func (b Bucket) Whole(now time.Duration, k Key) (Delta, bool) {
	if s := b.Session(k); s != nil {
		return s.Full(now), true
	}
	return b.DeadDelta(now, k)
}

// All are the bucket's sessions, by key.
func (b Bucket) All() iter.Seq[*Session] {
	return func(yield func(*Session) bool) {
		for _, s := range b.sessions {
			if !yield(s.Session) {
				return
			}
		}
	}
}

// Buried tells whether the session is known to have been invalidated.
func (b Bucket) Buried(k Key) bool {
	_, dead := b.tombs[k]
	return dead
}

// Successor is the key of the session that goes on in the place of one that is
// buried, as far as that is known.
func (t *Table) Successor(k Key) *Key {
	b := t.Lock(k)
	defer b.Unlock()
	return b.Successor(k)
}

// Successor is Table.Successor of a locked bucket.
func (b Bucket) Successor(k Key) *Key { return b.tombs[k].next }

// States are what members compare of a bucket: each session's state, then deadHash
// for each tombstone. The bucket is locked meanwhile.
func (t *Table) States(n int) iter.Seq2[Key, uint64] {
	return func(yield func(Key, uint64) bool) {
		b := t.LockAt(n)
		defer b.Unlock()
		for _, s := range b.sessions {
			if !yield(s.Key, s.State()) {
				return
			}
		}
		for _, k := range b.Dead() {
			if !yield(k, DeadHash) {
				return
			}
		}
	}
}

// Digest is the sum of a bucket: equal sums mean equal states.
func (t *Table) Digest(n int) uint64 { return t.buckets[n].sum.Load() }

// SessionsIn is how many sessions a bucket has.
func (t *Table) SessionsIn(n int) int {
	b := t.LockAt(n)
	defer b.Unlock()
	return len(b.sessions)
}
