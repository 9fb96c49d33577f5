package channel

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// settle sees whether discovery had its first chance. Called with mu held.
func (c *Channel) settle(now time.Time) {
	if c.isSettled() || c.finding(now) {
		return
	}
	if err := c.isStray(); err != nil {
		c.stop(err)
		return
	}
	switch why, firm := c.lacks(); {
	case why == "":
	case now.Sub(c.started) < c.cfg.Patience || firm && c.cfg.Insist:
		if now.Sub(c.started) > unprovenTime {
			c.seldom("settle", "not ready yet", "why", why)
		}
		return
	case c.cfg.Patience > 0:
		c.later(note{warn: true, text: "going on all the same", args: []any{"why", why, "dur", c.cfg.Patience}})
	}
	c.joined = true // nobody is there to say that the name is taken
	close(c.settled)
}

// finding tells whether members may still be found in a moment: providers take
// their time, and addresses their dials. If somebody was found already, it has
// told of all others. Addresses that nobody vouches for are waited for a short
// time, however many come. Called with mu held.
func (c *Channel) finding(now time.Time) bool {
	took := now.Sub(c.started)
	if !c.joined {
		if took < settleAfter {
			return true
		}
		for _, p := range c.providers {
			if p.Stats().Queries == 0 {
				return true
			}
		}
	}
	for _, d := range c.cands {
		waits := d.rank != unproven || !c.joined && took < unprovenTime
		if !d.tried && waits || !d.taken.IsZero() && !c.joined {
			return true
		}
	}
	return false
}

// lacks says what speaks against a start with those that are here; firm if
// nothing but its coming can prove it wrong. A node that has found nobody must know
// that nobody is there, as when machines answer that nothing listens: one that is
// merely cut off from the others would start with an empty memory. Called with mu
// held.
func (c *Channel) lacks() (why string, firm bool) {
	here := 1
	for _, m := range c.view.Members() {
		if m.State == membership.Alive && m.Domain == c.cfg.Self.Domain {
			here++
		}
	}
	if here < c.cfg.Expect {
		return fmt.Sprintf("%d members are expected (membership.expect), here are %d", c.cfg.Expect, here), true
	}
	if c.joined {
		return "", false
	}
	for _, p := range c.providers {
		// Where multicast doesn't work the operator's own list is enough.
		counts := p.Name() != "mdns" || len(c.providers) == 1
		if s := p.Stats(); s.Problem != "" && counts && (why == "" || !s.Empty) {
			why, firm = fmt.Sprintf("members can't be found by %s: %s", p.Name(), s.Problem), firm || !s.Empty
		}
	}
	for _, addr := range slices.Sorted(maps.Keys(c.cands)) {
		if d := c.cands[addr]; why == "" && d.rank == listed && !d.self && !d.absent {
			why = "no member is found, and nobody answers at " + addr
		}
	}
	return why, firm
}

// Waiting says why Settled is not closed yet, for people; empty if it is.
func (c *Channel) Waiting() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isSettled() {
		return ""
	}
	if why, _ := c.lacks(); why != "" {
		return why
	}
	return "looking for other members"
}

// isStray is the error of a node that was refused wherever its operator sent it,
// because its secret, cluster name or version is another one: alone it would be a
// cluster of its own, unnoticed. What was merely heard by mdns keeps nobody from
// starting; the log has it. Called with mu held.
func (c *Channel) isStray() error {
	if c.joined {
		return nil
	}
	for _, addr := range slices.Sorted(maps.Keys(c.cands)) {
		if d := c.cands[addr]; d.stray != nil && d.rank == listed {
			return &StrayError{Address: addr, Err: d.stray}
		}
	}
	return nil
}
