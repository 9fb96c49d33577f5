package channel

import (
	"context"
	"maps"
	"slices"
	"strings"

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
