package channel

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/nodeserver/nodeserver/membership"
)

// Members lists everybody known, this node included, sorted by name. Members
// that are gone stay in the list for ten minutes, unless a new life is here.
func (c *Channel) Members() []membership.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.members()
}

func (c *Channel) members() []membership.Status {
	list := append(c.view.Members(), membership.Status{
		Member: c.cfg.Self, State: membership.Alive, Ready: c.ready, Draining: c.draining,
	})
	slices.SortStableFunc(list, func(a, b membership.Status) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Watch calls f with the member list, at once and after changes, until ctx
// ends. Changes in quick succession may come as one.
func (c *Channel) Watch(ctx context.Context, f func([]membership.Status)) {
	for ctx.Err() == nil {
		c.mu.Lock()
		list, changed := c.members(), c.changed
		c.mu.Unlock()
		f(list)
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// notify wakes those who watch. Called with mu held.
func (c *Channel) notify() {
	c.version++
	close(c.changed)
	c.changed = make(chan struct{})
}

// Settled is closed when discovery has had its first chance: providers had most of
// a second, and every address that somebody vouches for was tried to an end, be it
// a link or not; or Config.Patience is over. Who is alone then, starts alone.
func (c *Channel) Settled() <-chan struct{} { return c.settled }

func (c *Channel) isSettled() bool {
	select {
	case <-c.settled:
		return true
	default:
		return false
	}
}

// Problem is what keeps this node out of (a part of) its cluster, and an
// operator must solve: nil, or a *SupersededError or *DuplicateNameError. It
// is up to date whenever Watch calls.
func (c *Channel) Problem() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, addr := range slices.Sorted(maps.Keys(c.cands)) {
		if err := c.cands[addr].err; err != nil {
			return err
		}
	}
	return nil
}

// problem notes this node's problem at an address. Called with mu held.
func (c *Channel) problem(d *candidate, err error) {
	if (d.err == nil) != (err == nil) {
		c.notify()
	}
	d.err = err
}

// Traffic counts what went one way in one class since the member's life began.
type Traffic struct {
	Frames, Payloads, Bytes uint64
	TooLarge                uint64 // payloads that no message can hold, dropped
	Unknown                 uint64 // payloads of topics nobody has here, dropped
}

// MemberStats are the counts about one life of a member.
type MemberStats struct {
	ID        membership.ID
	State     membership.State // 0: not linked yet
	Linked    bool
	Links     uint64     // so far; all but the first are reconnects
	Sent, Got [2]Traffic // by Class
}

// Stats is a snapshot of the counts, sorted by name.
func (c *Channel) Stats() []MemberStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]MemberStats, 0, len(c.lives))
	for id, l := range c.lives {
		m := MemberStats{ID: id, State: c.view.State(id), Linked: l.link != nil, Links: l.links}
		for class := range m.Sent {
			m.Sent[class], m.Got[class] = l.sent[class].traffic(), l.got[class].traffic()
		}
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b MemberStats) int { return strings.Compare(a.ID.Name, b.ID.Name) })
	return list
}

type counters struct{ frames, payloads, bytes, tooLarge, strange atomic.Uint64 }

func (n *counters) add(payloads, bytes int) {
	n.frames.Add(1)
	n.payloads.Add(uint64(payloads))
	n.bytes.Add(uint64(bytes))
}

func (n *counters) traffic() Traffic {
	return Traffic{
		Frames: n.frames.Load(), Payloads: n.payloads.Load(), Bytes: n.bytes.Load(),
		TooLarge: n.tooLarge.Load(), Unknown: n.strange.Load(),
	}
}
