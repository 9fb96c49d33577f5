package deltamanager

import (
	"bytes"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate"
	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
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
	if r.pauses != c.pauses.Load() {
		return Ref{}, Receipt{}, ErrNotReady
	}
	from, b, unlock := c.table.LockBoth(r.s.Key, to.Key)
	old, err := r.here(from)
	if err == nil {
		err = fit(b.Fits(old, tx.Writes))
	}
	if err != nil {
		unlock()
		return Ref{}, Receipt{}, err
	}
	s, receipt, events := c.move(now, b, old, to, tx)
	if !mutate.Is(mutate.MoveKeepsOld) {
		from.Replace(now, old, to.Key, receipt.Stamp.Clock)
	}
	c.log.publish(&change{pos: receipt.pos, key: old.Key, over: table.Invalidated})
	newcomer := !s.Returned
	unlock()
	if newcomer {
		c.table.Arrive(to.Key)
	}
	c.observe(events)
	c.stats.moves.Add(1)
	c.wakeAll(true)
	c.overtake(to.Key)
	c.overtake(old.Key)
	return Ref{c, s, r.pauses}, receipt, nil
}

// move makes and logs the session that takes the place of old. The receipt's position is
// that of old's end, which is to be logged.
func (c *Core) move(now time.Duration, b table.Bucket, old *table.Session, to Identity, tx Tx) (*table.Session, Receipt, []Event) {
	pos, end := c.log.reserve(), c.log.reserve()
	stamp := Stamp{Clock: c.clock.Tick(now), Incarnation: c.cfg.Self.Incarnation}
	auth := Auth{Tag: to.Tag, Principal: to.Principal, Parent: old.Key}
	if was, _ := old.Auth(); mutate.Is(mutate.TornAuth) {
		auth.Principal = was.Principal
	}
	regs := make([]table.Register, 1, len(old.Regs)+len(tx.Writes)+1)
	regs[0] = table.Register{ID: nil, Stamp: stamp, Value: auth.Encode()}
	for _, r := range old.Regs {
		if r.ID != nil && r.Value != nil { // what was removed stays behind
			regs = append(regs, table.Register{ID: r.ID, Stamp: stamp, Value: r.Value})
		}
	}
	s := b.CreateAfter(now, to.Key, old, to.Principal != "")
	b.Merge(s, regs, nil)
	changed := b.Overwrite(s, c.appendWrites(nil, tx, stamp))
	c.log.publish(&change{pos: pos, key: s.Key, all: true})
	c.stats.commits.Add(1)
	return s, Receipt{Stamp: stamp, pos: end, wrote: true}, c.events(s, IDChanged, false, changed)
}

// moved are the events of a session that goes on in the place of old, which may be
// unknown: an attribute that both have alike did not change.
func moved(events []Event, old *table.Session) []Event {
	kept := events[:0]
	for _, e := range events {
		if e.Kind == Created {
			e.Kind = IDChanged
		}
		if e.Kind == AttributeChanged && old != nil && bytes.Equal(old.Get(e.Name), e.Value(e.Name)) {
			continue
		}
		kept = append(kept, e)
	}
	return kept
}
