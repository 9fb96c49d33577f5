package channel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// Channel is one node's end of the group. Its methods are safe for concurrent
// use, except that Topic comes before Run.
type Channel struct {
	cfg       Config
	tr        Transport
	providers []membership.Provider
	log       *slog.Logger
	topics    map[string]*Topic
	dials     chan struct{} // a place for each dial under way
	settled   chan struct{} // closed once

	wakers atomic.Pointer[map[membership.ID]*life] // copy of lives, for wake

	mu       sync.Mutex
	running  context.Context //nolint:containedctx // of Run: dials and links start from calls of the transport, too
	stop     context.CancelCauseFunc
	stopped  bool
	leaving  bool
	started  time.Time
	ready    bool
	draining bool
	joined   bool // was linked once, or found nobody to ask
	view     *membership.View
	lives    map[membership.ID]*life
	names    map[string]*holder
	cands    map[string]*candidate
	notes    map[string]string
	kinds    map[string]*leftOut
	news     []note        // to be logged after mu is free
	changed  chan struct{} // closed and replaced at each change of the member list
	version  uint64        // of the member list
	wg       sync.WaitGroup
}

// New returns a channel that has opened nothing yet.
func New(cfg Config, tr Transport, providers []membership.Provider, log *slog.Logger) *Channel {
	cfg = cfg.withDefaults()
	return &Channel{
		cfg: cfg, tr: tr, providers: providers, log: log,
		topics:  map[string]*Topic{},
		dials:   make(chan struct{}, maxDials),
		settled: make(chan struct{}),
		view:    membership.NewView(membership.Timing{SuspectAfter: cfg.SuspectAfter, DownAfter: cfg.DownAfter}),
		lives:   map[membership.ID]*life{},
		names:   map[string]*holder{},
		cands:   map[string]*candidate{},
		notes:   map[string]string{},
		kinds:   map[string]*leftOut{},
		changed: make(chan struct{}),
	}
}

// Topic adds a topic with its handler, for the members that serve tells to
// have it too; nil stands for all. To be called before Run.
func (c *Channel) Topic(name string, h Handler, serves func(membership.Member) bool) *Topic {
	if c.topics[name] != nil {
		panic(fmt.Sprintf("channel: topic %s added twice", name))
	}
	t := &Topic{name: name, ch: c, h: h, serves: serves}
	c.topics[name] = t
	return t
}

// Run serves others, finds them, links to them and watches them until ctx
// ends; it then returns nil, after everything it started has returned. It ends
// early with the error of the transport, with that of a provider that could
// not even begin, or with a *DuplicateNameError. To be called once.
func (c *Channel) Run(ctx context.Context) error {
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	c.mu.Lock()
	c.running, c.stop, c.started = running, stop, time.Now()
	c.mu.Unlock()

	var parts sync.WaitGroup
	parts.Go(func() { c.serve(running) })
	for _, p := range c.providers {
		parts.Go(func() { c.discover(running, p) })
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

func (c *Channel) serve(ctx context.Context) {
	err := c.tr.Serve(ctx, (*service)(c))
	if ctx.Err() == nil {
		c.stop(fmt.Errorf("serve the channel: %w", err))
	}
}

// discover runs a provider. One that fails at once is a wrong configuration
// and ends the channel; one that fails later is only told of: the members that
// are known find each other without it.
func (c *Channel) discover(ctx context.Context, p membership.Provider) {
	err := p.Run(ctx, func(m membership.Candidate) {
		rank := listed
		if m.Unproven {
			rank = unproven
		}
		c.found(m.Address, rank)
	})
	switch {
	case ctx.Err() != nil || err == nil:
	case c.isSettled():
		c.log.Error("membership provider failed", "provider", p.Name(), "err", err)
	default:
		c.stop(fmt.Errorf("membership provider %s: %w", p.Name(), err))
	}
}

// halt breaks what goes on; nothing new starts afterwards.
func (c *Channel) halt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	for _, l := range c.lives {
		if l.link != nil {
			l.link.fail(errStopped)
		}
	}
}

// spawn starts a goroutine that Run waits for. Called with mu held, so that it
// can't come after halt.
func (c *Channel) spawn(f func()) {
	if !c.stopped && c.running != nil {
		c.wg.Go(f)
	}
}

// SetReady tells the others whether this node serves requests.
func (c *Channel) SetReady(ready bool) { c.tell(func() { c.ready = ready }) }

// SetDraining tells the others whether this node is about to leave.
func (c *Channel) SetDraining(draining bool) { c.tell(func() { c.draining = draining }) }

func (c *Channel) tell(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ready, draining := c.ready, c.draining
	change()
	if ready == c.ready && draining == c.draining {
		return
	}
	c.notify()
	for _, l := range c.lives {
		l.tell.ring()
	}
}

// Leave takes the node out of the group in order: what handlers still give is
// flushed, and everybody is told. It returns when all others have confirmed, or
// when ctx ends; the links are closed then. Run goes on, but makes no new links.
func (c *Channel) Leave(ctx context.Context) {
	c.mu.Lock()
	var links []*link
	first := !c.leaving
	c.leaving = true
	for _, l := range c.lives {
		if l.link == nil {
			continue
		}
		links = append(links, l.link)
		if first {
			close(l.link.leave)
		}
	}
	c.mu.Unlock()
	for _, l := range links {
		select {
		case <-l.done:
		case <-ctx.Done():
			c.fail(l, errLeaving)
		}
	}
}

func (c *Channel) isLeaving() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leaving
}

// wake is Topic.Wake. Nobody by that name: nothing to do, Connected will come first.
func (c *Channel) wake(to membership.ID, class Class, urgent bool) {
	lives := c.wakers.Load()
	if lives == nil {
		return
	}
	if l := (*lives)[to]; l != nil {
		l.wakes[class].ring(urgent)
	}
}
