package table

import (
	"time"
)

// Limits bound a table's sessions. Where nothing else is said, 0 is no limit.
type Limits struct {
	MaxInactive   time.Duration // how long a session lives unused
	FirstInactive time.Duration // the same for one whose cookie never came back; 0: MaxInactive
	Lifetime      time.Duration // how long a session lives at all; > 0
	MaxSessions   int
	MaxNewcomers  int // sessions at this node whose cookie never came back
	MaxBytes      int // names and values of one session; > 0
	MaxTombs      int // invalidations that are remembered; 0: 1 Mi
}

const (
	// MaxNames bounds a session's attributes, removed ones included, for as long as the
	// session lives. Members of each part of a split cluster hold a session to it alone,
	// so a session may have more when the split has healed.
	MaxNames = 1024
	// MaxName bounds a register's name, in bytes.
	MaxName = 256

	maxTombstones = 1 << 20
)

// lifeUnused is how long a session with this limit lives unused, 0: no limit. A session
// whose cookie never came back lives for first at most, if that is set.
func lifeUnused(limit, first time.Duration, returned bool) time.Duration {
	if !returned && first > 0 && (limit == 0 || limit > first) {
		return first
	}
	return limit
}

// tombLife is how long an invalidation is remembered at most: a little longer than
// any copy of the session may live, since members disagree a little on its age.
func (l *Limits) tombLife() time.Duration {
	return min(l.Lifetime, 24*time.Hour) + Granule(l.Lifetime)
}

// remembered is until when it is remembered that a session of this age is over.
func (l *Limits) remembered(now, created time.Duration) time.Duration {
	return min(now+l.tombLife(), created+l.Lifetime+Granule(l.Lifetime))
}

// tooOld tells whether a session that is not here has expired by what the
// delta says, so that it must not come back.
func (l *Limits) tooOld(d *Delta) bool {
	if d.Age >= l.Lifetime {
		return true
	}
	limit := l.MaxInactive
	for i := range d.Regs {
		if d.Regs[i].Name() == InactiveName {
			limit = parseInactive(d.Regs[i].Value, limit)
		}
	}
	limit = lifeUnused(limit, l.FirstInactive, d.Returned)
	return limit > 0 && d.Idle >= limit
}

// Expired tells whether the session is over for this node: at its inactive
// time where it was used last, one granule later elsewhere, since reads are
// announced twice a granule only.
func (b Bucket) Expired(s *Session, now time.Duration) bool {
	if lifetime := b.t.limits.Lifetime; lifetime > 0 && now-s.Created >= lifetime {
		return true
	}
	limit := lifeUnused(s.maxInactive(), b.t.limits.FirstInactive, s.Returned)
	if limit == 0 {
		return false
	}
	if s.served < s.heard+Granule(limit)/2 {
		limit += Granule(limit)
	}
	return now-s.Last >= limit
}

// Granule is how exactly the use of a session is known everywhere: a sixteenth
// of its inactive time, within 1 s and 60 s.
func Granule(maxInactive time.Duration) time.Duration {
	return min(max(maxInactive/16, time.Second), time.Minute)
}

// Sweep removes what has expired from a bucket, and returns it.
func (t *Table) Sweep(now time.Duration, n int) (over []*Session) {
	if t.buckets[n].sum.Load() == 0 {
		return nil // empty, as most are
	}
	b := t.LockAt(n)
	defer b.Unlock()
	for k, tomb := range b.tombs {
		if tomb.until <= now {
			b.forget(k)
		}
	}
	for _, s := range b.sessions {
		if b.Expired(s.Session, now) {
			over = append(over, s.Session)
		}
	}
	for _, s := range over {
		b.Remove(s)
	}
	return over
}

// UsedSince are the sessions of a bucket that were used here since the instant.
func (t *Table) UsedSince(n int, since time.Duration) (keys []Key) {
	if t.buckets[n].sum.Load() == 0 {
		return nil
	}
	b := t.LockAt(n)
	defer b.Unlock()
	for _, s := range b.sessions {
		if s.served >= since {
			keys = append(keys, s.Key)
		}
	}
	return keys
}
