package channel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// Channel is one node's end of the group. Its methods are safe for concurrent use.
type Channel struct {
	cfg       Config
	tr        Transport
	providers []membership.Provider
	dials     chan struct{} // a place for each dial under way
	settled   chan struct{} // closed once
	wg        sync.WaitGroup

	wakers atomic.Pointer[map[string]*peer] // copy of state.peers by name, for wake

	mu guard
	st state // guarded by mu
}

// New returns a channel that has opened nothing yet.
func New(cfg Config, tr Transport, providers []membership.Provider, log *slog.Logger) *Channel {
	c := &Channel{
		cfg: cfg.withDefaults(), tr: tr, providers: providers,
		dials:   make(chan struct{}, maxDials),
		settled: make(chan struct{}),
		mu:      guard{log: log},
	}
	c.st = newState(c, c.cfg)
	return c
}

// Run serves other nodes, finds them, links to them and watches them until ctx ends; it then
// returns nil, after everything it started has returned. It ends early with the error of the
// transport, with that of a provider that could not even begin, or with a *DuplicateNameError or
// *StrayError. To be called once.
func (c *Channel) Run(ctx context.Context) error {
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	c.begin(running, stop)
	var parts sync.WaitGroup
	parts.Go(func() { c.serve(running, stop) })
	for _, p := range c.providers {
		parts.Go(func() { c.discover(running, stop, p) })
	}
	parts.Go(func() { c.tick(running) })
	<-running.Done()
	c.halt()
	parts.Wait()
	c.wg.Wait()
	if err := context.Cause(running); ctx.Err() == nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (c *Channel) begin(running context.Context, stop context.CancelCauseFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.st.running, c.st.stop, c.st.dialing.begun = running, stop, time.Now()
}

func (c *Channel) halt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.st.halt()
}

func (c *Channel) serve(ctx context.Context, stop context.CancelCauseFunc) {
	err := c.tr.Serve(ctx, service{c})
	if ctx.Err() == nil {
		stop(fmt.Errorf("serve the channel: %w", err))
	}
}

// discover runs a provider. A provider that fails before the node has settled has a wrong
// configuration and ends the channel. A later failure is only logged: the members that are known
// find each other without the provider.
func (c *Channel) discover(ctx context.Context, stop context.CancelCauseFunc, p membership.Provider) {
	err := p.Run(ctx, func(m membership.Candidate) {
		c.mu.Lock()
		defer c.mu.Unlock()
		rank := listed
		if m.Unproven {
			rank = unproven
		}
		c.st.found(m.Address, rank)
	})
	switch {
	case ctx.Err() != nil || err == nil:
	case closed(c.settled):
		c.mu.log.Error("membership provider failed", "provider", p.Name(), "err", err)
	default:
		stop(fmt.Errorf("membership provider %s: %w", p.Name(), err))
	}
}

// SetReady announces to the members whether this node serves requests.
func (c *Channel) SetReady(ready bool) {
	c.announce(func(s *state) { s.ready = ready })
}

// SetDraining announces to the members whether this node is about to leave.
func (c *Channel) SetDraining(draining bool) {
	c.announce(func(s *state) { s.draining = draining })
}

// SetApps announces to the members which webapps this node hosts, sorted.
func (c *Channel) SetApps(apps []string) {
	c.announce(func(s *state) { s.self.Apps = apps })
}

func (c *Channel) announce(change func(*state)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ready, draining, apps := c.st.ready, c.st.draining, c.st.self.Apps
	change(&c.st)
	if ready == c.st.ready && draining == c.st.draining && slices.Equal(apps, c.st.self.Apps) {
		return
	}
	c.st.notify()
	for _, p := range c.st.peers {
		p.announce.ring()
	}
}

// Leave takes the node out of the group in order: the node sends what handlers still have, and
// announces its leave. Leave returns when all members have confirmed, or when ctx ends; the links
// are closed then. Run goes on, but makes no new links.
func (c *Channel) Leave(ctx context.Context) {
	for _, k := range c.beginLeave() {
		select {
		case <-k.done:
		case <-ctx.Done():
			k.abort(errLeaving)
		}
	}
}

func (c *Channel) beginLeave() (links []*link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := !c.st.leaving
	c.st.leaving = true
	for _, p := range c.st.peers {
		if p.link == nil {
			continue
		}
		links = append(links, p.link)
		if first {
			close(p.link.leave)
		}
	}
	return links
}

func (c *Channel) isLeaving() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.st.leaving
}

// wake is Topic.Wake. For a member that is not known there is nothing to do: its Connected comes
// first.
func (c *Channel) wake(to membership.ID, class Class, urgent bool) {
	peers := c.wakers.Load()
	if peers == nil {
		return
	}
	if p := (*peers)[to.Name]; p != nil {
		p.wakes[class].ring(urgent)
	}
}
