package channel

import (
	"context"

	"github.com/nodeserver/nodeserver/membership"
)

// Members lists all known members, this node included, sorted by name. A member that is gone stays
// in the list for ten minutes, unless a new incarnation of it is here.
func (c *Channel) Members() []membership.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.st.members()
}

// Self is this node's incarnation.
func (c *Channel) Self() membership.ID { return c.cfg.Self.ID }

// Watch calls f with the member list, at once and after changes, until ctx ends. Changes in quick
// succession may come as one.
func (c *Channel) Watch(ctx context.Context, f func([]membership.Status)) {
	for ctx.Err() == nil {
		list, changed := c.snapshot()
		f(list)
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

func (c *Channel) snapshot() ([]membership.Status, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.st.members(), c.st.changed
}

// Settled is closed when discovery has had its first chance: providers had most of a second, and
// every address that is not unproven was dialled until there was a link or no chance of one; or
// Config.Patience is over. A node that found nobody by then starts as a cluster of one.
func (c *Channel) Settled() <-chan struct{} { return c.settled }

// Waiting says why Settled is not closed yet, for people; it is empty if Settled is closed.
func (c *Channel) Waiting() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.st.dialing.waiting(c.st.view.Members(), c.st.finders())
}

// Problem is what keeps this node out of its cluster, or out of a part of it, and needs an
// operator: nil, a *SupersededError or a *DuplicateNameError. It is up to date whenever Watch
// calls.
func (c *Channel) Problem() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.st.dialing.problem()
}
