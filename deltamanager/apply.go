package deltamanager

import (
	"bytes"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	"github.com/nodeserver/nodeserver/deltamanager/internal/wire"
)

// applier merges what members say of sessions, by whichever way it came.
type applier struct {
	*base
}

// apply merges one delta that a member sent, and does what follows from it here. It
// reports what the link has to do about it.
func (c *applier) apply(now time.Duration, d *table.Delta, from table.Source) table.Verdict {
	var few [4]string
	v, changed := c.table.Apply(now, d, from, few[:0])
	var events []Event
	switch {
	case v.Merged != nil:
		kind := AttributeChanged
		if v.Fresh {
			kind = Created
		}
		events = c.listeners.events(v.Merged, kind, true, changed)
	case v.Over != nil && v.Ending == table.Expired:
		c.stats.sessions.expired.Add(1)
		events = c.listeners.ended(Expired, v.Over, true)
	case v.Over != nil:
		c.stats.sessions.invalidated.Add(1)
		events = c.listeners.ended(Invalidated, v.Over, true)
	}
	if v.Newcomer {
		c.table.Arrive(d.Key)
	}
	if v.Parent != (Key{}) {
		events = moved(events, c.table.Succeed(now, v.Parent, d.Key, d.Age, v.Since))
	}
	c.listeners.observe(events)
	return v
}

// applyRaw applies one encoded delta and does what follows from it. A delta
// that can't be read is left out, alone: it must not keep others away. It reports whether
// the delta had news.
func (c *applier) applyRaw(now time.Duration, by *link, raw []byte, late time.Duration, from table.Source) (news bool) {
	var few [4]table.Register
	d, err := wire.ParseDelta(raw, by.id.Incarnation, &c.names, few[:])
	if err != nil || !c.observeDelta(now, &d) {
		c.stats.traffic.malformed.Add(1)
		return false
	}
	d.Idle += late
	d.Age += late
	v := c.apply(now, &d, from)
	c.stats.traffic.deltasIn.Add(1)
	if from != table.Live && v.Changed {
		c.stats.repair.repaired.Add(1)
	}
	if !v.Dead && !v.Missing {
		return v.Changed
	}
	l := by.lock()
	if v.Dead {
		l.repair.push.add(d.Key)
	} else {
		l.repair.want.add(d.Key)
	}
	l.unlock()
	c.group.Wake(l.id, true, true)
	return v.Changed
}

// observeDelta refuses stamps from the far future.
func (c *applier) observeDelta(now time.Duration, d *table.Delta) bool {
	for i := range d.Regs {
		if !c.clock.Observe(now, d.Regs[i].Stamp.Clock) {
			c.stats.traffic.farAhead.Add(1)
			return false
		}
	}
	return true
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
