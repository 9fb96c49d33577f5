package table

import (
	"slices"
	"time"
)

// Source is how a delta came.
type Source uint8

// The ways in which deltas come.
const (
	Live   Source = iota // in a member's stream of changes
	Listed               // in the answer to a list of sessions
	Asked                // in the answer to a question for its session: what it says of its use is news
)

// Ending says how a session ended.
type Ending uint8

// The ways in which sessions end.
const (
	Alive       Ending = iota
	Invalidated        // for good; a tombstone is left
	Expired            // at its last user; others may know better
)

// Apply merges one delta that a member sent. Ages in a delta that answers a repair count only
// with news: else two members would tell each other for ever that a session was used a
// little later. The names of the registers that changed are
// put into names, which is empty: they are not in the verdict, which may live longer.
func (t *Table) Apply(now time.Duration, d *Delta, from Source, names []string) (v Verdict, changed []string) {
	b := t.Lock(d.Key)
	defer b.Unlock()
	repair := from != Live
	if tomb, dead := b.tombs[d.Key]; dead {
		v.Dead = !d.Dead && tomb.until > now
		return v, nil
	}
	s := b.Session(d.Key)
	if d.Dead {
		b.applyDead(now, s, d)
		v.Over, v.Ending = s, Invalidated
		return v, nil
	}
	if d.Expired {
		returned := s != nil && s.Returned && !d.Returned
		if s != nil && s.Last <= now-d.Idle+expirySlack && !returned {
			b.Remove(s)
			v.Over, v.Ending = s, Expired
		}
		return v, nil
	}
	v.Fresh = s == nil
	if v.Fresh {
		if len(d.Regs) == 0 || t.limits.tooOld(d) {
			v.Fresh = false
			v.Missing = len(d.Regs) == 0 && !t.limits.tooOld(d)
			return v, nil
		}
		s = &Session{
			Key:       d.Key,
			Created:   now - d.Age,
			Last:      now - d.Idle,
			served:    never,
			announced: never,
			heard:     never,
			partial:   !d.Full,
			limit:     limitOf(t.limits.MaxInactive),
			Returned:  d.Returned,
		}
		b.add(s)
		v.Newcomer = !s.Returned
	}
	v.Merged, changed = s, b.Merge(s, d.Regs, names)
	v.Changed = len(changed) > 0
	if slices.Contains(changed, authName) {
		a, _ := s.Auth()
		v.Parent, v.Since = a.Parent, s.Regs[0].Stamp.Clock
	}
	if d.Full {
		v.Changed = b.complete(s) || v.Changed
		s.Created = min(s.Created, now-d.Age)
	}
	v.Changed = d.Returned && b.ComeBack(s) || v.Changed
	if v.Fresh || v.Changed || !repair || from == Asked {
		s.heard = max(s.heard, now-d.Idle)
		s.Last = max(s.Last, s.heard)
	}
	v.Missing = s.partial && !repair
	return v, changed
}

// Verdict is what follows from a delta.
type Verdict struct {
	Changed bool // it had news
	Missing bool // the session is not whole here: it must be fetched
	Dead    bool // the session is over: the sender must hear of it

	Merged *Session // it is here now
	Fresh  bool     // and was not before
	Over   *Session // it was here and is no more
	Ending Ending   // and how it ended

	Newcomer bool   // it is new here, and its cookie has not come back
	Parent   Key    // of the session in whose place it goes on, if that is news
	Since    uint64 // and when it does
}

// expirySlack allows for the time a delta travels.
const expirySlack = 500 * time.Millisecond

func (b Bucket) applyDead(now time.Duration, s *Session, d *Delta) {
	until := now - d.Age + b.t.limits.tombLife()
	if until > now {
		at := tomb{until: until, rank: d.Rank}
		if d.Moved {
			at.next = somewhere
		}
		b.bury(d.Key, at)
	} else if s != nil {
		b.Remove(s)
	}
}

// Succeed buries the session in whose place another one, just heard of, goes on: a node
// that knows the new one does not open the old one. It returns the old one, which may be unknown.
// Age and since are those of the new one's delta and of its Auth.
func (t *Table) Succeed(now time.Duration, parent, next Key, age time.Duration, since uint64) *Session {
	b := t.Lock(parent)
	defer b.Unlock()
	old := b.Session(parent)
	if until := t.limits.remembered(now, now-age); until > now {
		b.bury(parent, tomb{until, rankOf(since, age), &next})
	} else if old != nil {
		b.Remove(old)
	}
	return old
}
