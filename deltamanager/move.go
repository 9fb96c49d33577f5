package deltamanager

import (
	"bytes"
	"slices"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate"
)

// Identity is what a move gives a session: a key that was never used, the tag of
// the user's new cookie, and the user's name.
type Identity struct {
	Key       Key
	Tag       Tag
	Principal string
}

// Move applies what a request wrote, as Commit does, and gives the session another
// identity, as a login must: who knew the cookie of before shall not get at what
// comes after. A new session with all attributes takes the place of the old one, which
// is over for good, like one that was invalidated; its age and its time unused go on.
//
// That there are two sessions, and not one that changes its tag, makes the order
// in which members hear of things irrelevant. What is written under the new cookie is
// written to the new key, so a member that has not heard of the move shows none of it
// under the old cookie; a member that has heard of the new session buries the old one in
// the same step. Of two moves of one session at two nodes, each has a session of its own.
func (c *Core) Move(now time.Duration, r Ref, to Identity, tx Tx) (Ref, Receipt, error) {
	c.enter(now)
	if r.pauses != c.stats.pauses.Load() {
		return Ref{}, Receipt{}, ErrNotReady
	}
	from, b := c.table.of(r.s.key), c.table.of(to.Key)
	unlock := c.table.lockBoth(r.s.key, to.Key)
	old, err := r.here(from)
	if err == nil {
		err = c.checkSize(old, tx.Writes)
	}
	if err != nil {
		unlock()
		return Ref{}, Receipt{}, err
	}
	s, receipt, events := c.move(now, b, old, to, tx)
	if !mutate.Is(mutate.MoveKeepsOld) {
		c.table.bury(from, old.key, tomb{c.remembered(now, old.created), rankOf(receipt.Stamp.Clock, now-old.created), &to.Key})
	}
	c.log.publish(&change{pos: receipt.pos, key: old.key, over: invalidated})
	newcomer := !s.returned
	unlock()
	if newcomer {
		c.arrive(to.Key)
	}
	c.observe(events)
	c.stats.moves.Add(1)
	c.wakeAll(true)
	c.overtake(to.Key)
	c.overtake(old.key)
	return Ref{c, s, r.pauses}, receipt, nil
}

// move makes and logs the session that takes the place of old. The receipt's position is
// that of old's end, which is to be logged. Called with both buckets' locks held.
func (c *Core) move(now time.Duration, b *bucket, old *session, to Identity, tx Tx) (*session, Receipt, []Event) {
	pos, end := c.log.reserve(), c.log.reserve()
	stamp := Stamp{c.clock.tick(now), c.cfg.Self.Boot}
	auth := Auth{Tag: to.Tag, Principal: to.Principal, Parent: old.key}
	if was, _ := old.auth(); mutate.Is(mutate.TornAuth) {
		auth.Principal = was.Principal
	}
	regs := make([]register, 1, len(old.regs)+len(tx.Writes)+1)
	regs[0] = register{nil, stamp, auth.encode()}
	for _, r := range old.regs {
		if r.id != nil && r.value != nil { // what was removed stays behind
			regs = append(regs, register{r.id, stamp, r.value})
		}
	}
	s := &session{
		key: to.Key, created: old.created, last: now, served: now, told: now, heard: never,
		limit: old.limit, returned: old.returned || to.Principal != "",
	}
	c.table.add(b, s)
	c.table.merge(b, s, regs, c.cfg.MaxInactive, nil)
	changed := c.overwrite(b, s, tx, stamp)
	c.log.publish(&change{pos: pos, key: s.key, all: true})
	c.stats.commits.Add(1)
	return s, Receipt{Stamp: stamp, pos: end, wrote: true}, c.events(s, IDChanged, false, changed)
}

// overwrite puts the request's own writes in the place of the copied registers, which
// have the same stamp.
func (c *Core) overwrite(b *bucket, s *session, tx Tx, stamp Stamp) (changed []string) {
	for _, r := range c.appendWrites(nil, tx, stamp) {
		changed = append(changed, r.name())
		i, found := s.find(r.name())
		switch {
		case found && r.value == nil:
			c.table.drop(b, s, i)
		case found:
			s.regs[i].value = r.value // the hash is over name and stamp
		case r.value != nil:
			c.table.merge(b, s, []register{r}, c.cfg.MaxInactive, nil)
		}
		if found && r.name() == inactiveName {
			s.limit = limitOf(parseInactive(r.value, c.cfg.MaxInactive))
		}
	}
	return changed
}

// drop takes a register out of a session that nobody has seen yet. Called with b.mu held.
func (t *table) drop(b *bucket, s *session, i int) {
	before := s.digest(t.seed)
	s.hash -= s.regs[i].hash(s.key, t.seed)
	s.regs = slices.Delete(s.regs, i, i+1)
	t.grow(b, s.digest(t.seed)-before)
}

// succeed buries the session in whose place another one, just heard of, goes on: nobody
// who knows the new one opens the old one. It returns what listeners are to be
// told instead of the given events.
func (c *Core) succeed(now time.Duration, d *delta, v verdict, events []Event) []Event {
	if mutate.Is(mutate.ParentLives) {
		return events
	}
	b := c.table.of(v.parent)
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.session(v.parent)
	until := c.remembered(now, now-d.age)
	if next := d.key; until > now { // a copy: the delta is used again
		c.table.bury(b, v.parent, tomb{until, rankOf(v.since, d.age), &next})
	} else if old != nil {
		c.table.remove(b, old)
	}
	return moved(events, old)
}

// moved are the events of a session that goes on in the place of old, which may be
// unknown: an attribute that both have alike did not change.
func moved(events []Event, old *session) []Event {
	kept := events[:0]
	for _, e := range events {
		if e.Kind == Created {
			e.Kind = IDChanged
		}
		if e.Kind == AttributeChanged && old != nil && bytes.Equal(old.get(e.Name), e.Value(e.Name)) {
			continue
		}
		kept = append(kept, e)
	}
	return kept
}

// lockBoth locks the buckets of two keys, always in the order of the table, and
// returns what unlocks them.
func (t *table) lockBoth(x, y Key) (unlock func()) {
	i, j := x.bucket(), y.bucket()
	if i == j {
		t.buckets[i].mu.Lock()
		return t.buckets[i].mu.Unlock
	}
	lo, hi := &t.buckets[min(i, j)], &t.buckets[max(i, j)]
	lo.mu.Lock()
	hi.mu.Lock()
	return func() {
		hi.mu.Unlock()
		lo.mu.Unlock()
	}
}
