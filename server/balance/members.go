package balance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/cluster"
)

// WatchFunc asks the member at a channel address for its member list, and hands
// each version of it to update, until ctx ends or the connection breaks.
type WatchFunc func(ctx context.Context, addr string, update func([]membership.Status)) error

// Bounds of Members.
const (
	maxWatches   = 64                     // members watched at once, and unproven addresses asked
	firstAnswer  = 2 * time.Second        // from dialling to the first list
	firstRetry   = 100 * time.Millisecond // of a watch that broke; doubles
	slowRetry    = 2 * time.Second        // up to this
	quietFaults  = 3                      // attempts before a watch that fails is logged
	doubtTime    = time.Second            // for a member in doubt to answer anew
	forgetAfter  = time.Minute            // without being proposed or named, an address that fails is dropped
	unprovenLife = 15 * time.Second       // same, if anybody can have made it up
)

// Members is a Source that asks the cluster who is there: of the members that
// providers propose, and of those that they in turn know, it watches all.
type Members struct {
	providers []membership.Provider
	watch     WatchFunc
	log       *slog.Logger

	telling sync.Mutex // held while update is called, so that calls don't overlap
	update  func([]Node)

	mu        sync.Mutex
	wg        sync.WaitGroup
	watched   map[string]*watched // by address
	live      []*report           // of watches that are up
	strangers cluster.Seldom
}

var _ Source = (*Members)(nil)

// NewMembers returns a Source that has opened nothing yet.
func NewMembers(providers []membership.Provider, watch WatchFunc, log *slog.Logger) *Members {
	return &Members{providers: providers, watch: watch, log: log, watched: map[string]*watched{}}
}

// works tells of each provider, by name, whether it works.
func (m *Members) works() map[string]bool {
	list := map[string]bool{}
	for _, p := range m.providers {
		list[p.Name()] = p.Stats().Problem == ""
	}
	return list
}

// Run implements Source. It ends early when all providers have failed. To be
// called once.
func (m *Members) Run(ctx context.Context, update func([]Node)) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	m.update = update
	var providers sync.WaitGroup
	failed := make(chan error, len(m.providers))
	for _, p := range m.providers {
		providers.Go(func() {
			err := p.Run(ctx, func(c membership.Candidate) { m.follow(ctx, c.Address, c.Unproven) })
			if err != nil && ctx.Err() == nil {
				failed <- fmt.Errorf("membership provider %s: %w", p.Name(), err)
			}
		})
	}
	err := m.await(ctx, failed)
	stop()
	providers.Wait()
	m.wg.Wait() // only watches themselves can start another one now
	return err
}

// await waits for the end: that of ctx, or of the last provider.
func (m *Members) await(ctx context.Context, failed <-chan error) error {
	var errs []error
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			if errs = append(errs, err); len(errs) == len(m.providers) {
				return errors.Join(errs...)
			}
			m.log.Error("membership provider failed, the others go on", "err", err)
		}
	}
}

// watched is an address where a member may be. Guarded by Members.mu.
type watched struct {
	addr     string
	seen     time.Time // when it was last proposed or named
	unproven bool      // anybody can have made it up, and it has not answered yet
	failing  bool      // it has not answered the last question
	end      context.CancelFunc
}

// follow starts a watch at the address unless there is one. Unproven ones have a
// quota of their own, and give way to each other: they keep out nobody else.
func (m *Members) follow(ctx context.Context, addr string, unproven bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	if w := m.watched[addr]; w != nil {
		w.seen, w.unproven = time.Now(), w.unproven && unproven
		return
	}
	if !m.room(unproven) {
		return
	}
	own, end := context.WithCancel(ctx)
	w := &watched{addr: addr, seen: time.Now(), unproven: unproven, end: end}
	m.watched[addr] = w
	m.wg.Go(func() {
		defer end()
		m.keepWatching(ctx, own, w)
	})
}

// room tells whether there is a place for an address, if need be by giving up the
// one of its kind that fails and was named longest ago. An unproven one may also be
// given up while it is asked: a member answers within a few milliseconds, and what
// doesn't must not keep it out. Called with mu held.
func (m *Members) room(unproven bool) bool {
	n := 0
	var worst *watched
	for _, w := range m.watched {
		if w.unproven != unproven {
			continue
		}
		n++
		if !w.failing && !unproven {
			continue
		}
		if worst == nil || w.failing && !worst.failing || w.failing == worst.failing && w.seen.Before(worst.seen) {
			worst = w
		}
	}
	if n < maxWatches {
		return true
	}
	if worst == nil {
		return false
	}
	if !worst.failing {
		m.stranger(worst.addr, errTooMany)
	}
	worst.end()
	delete(m.watched, worst.addr)
	return true
}

// errTooMany is why an address that may be one of many made-up ones is given up.
var errTooMany = errors.New("too many addresses are proposed at a time")

// keepWatching asks at an address until own, a part of ctx, ends.
func (m *Members) keepWatching(ctx, own context.Context, w *watched) {
	wait, faults := firstRetry, 0
	for own.Err() == nil && !m.forget(w) {
		attempt, again := context.WithCancel(own)
		r := &report{addr: w.addr, again: again}
		patience := time.AfterFunc(firstAnswer, again)
		err := m.watch(attempt, w.addr, func(list []membership.Status) {
			patience.Stop()
			wait, faults = firstRetry, 0
			m.answered(w)
			m.received(ctx, r, list)
		})
		patience.Stop()
		again()
		if m.inDoubt(r) { // asked anew at once; meanwhile what it said holds
			m.wg.Go(func() {
				sleep(ctx, doubtTime)
				m.broke(ctx, r)
			})
			continue
		}
		m.broke(ctx, r)
		if faults++; own.Err() == nil {
			m.failed(w, faults, err)
		}
		sleep(own, wait)
		wait = min(2*wait, slowRetry)
	}
}

// answered notes that a member is at the address.
func (m *Members) answered(w *watched) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w.unproven, w.failing = false, false
}

// failed notes that no member is there, or none that answers. The log hears of an
// address once, and of made-up ones once a minute in all.
func (m *Members) failed(w *watched, faults int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w.failing = true
	switch {
	case w.unproven:
		m.stranger(w.addr, err)
	case faults == quietFaults:
		m.log.Warn("member list not available", "addr", w.addr, "err", err)
	}
}

// stranger logs that an unproven address leads nowhere, once a minute.
func (m *Members) stranger(addr string, err error) {
	m.strangers.Warn(m.log, "addresses found by mdns lead to no member", "addr", addr, "err", err)
}

// forget drops the address if nobody has spoken of it for long.
func (m *Members) forget(w *watched) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.Contains(addresses(m.live), w.addr) {
		w.seen = time.Now()
	}
	life := forgetAfter
	if w.unproven {
		life = unprovenLife
	}
	if time.Since(w.seen) < life {
		return false
	}
	if m.watched[w.addr] == w {
		delete(m.watched, w.addr)
	}
	return true
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// received takes a member's list over.
func (m *Members) received(ctx context.Context, r *report, list []membership.Status) {
	m.mu.Lock()
	r.note(time.Now(), list)
	m.live = slices.DeleteFunc(m.live, func(o *report) bool { return o.addr == r.addr })
	m.live = append(m.live, r)
	named := addresses(m.live)
	for _, d := range doubtful(m.live) {
		d.again()
	}
	m.mu.Unlock()
	for _, addr := range named {
		m.follow(ctx, addr, false)
	}
	m.tell(ctx)
}

func (m *Members) inDoubt(r *report) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return r.doubted && slices.Contains(m.live, r)
}

// broke takes a report out.
func (m *Members) broke(ctx context.Context, r *report) {
	m.mu.Lock()
	was := len(m.live)
	m.live = slices.DeleteFunc(m.live, func(o *report) bool { return o == r })
	changed := len(m.live) != was
	m.mu.Unlock()
	if changed {
		m.tell(ctx)
	}
}

// tell updates the balancer. When nobody can be asked it keeps the last list.
func (m *Members) tell(ctx context.Context) {
	m.telling.Lock()
	defer m.telling.Unlock()
	m.mu.Lock()
	known, list := len(m.live) > 0, merge(m.live)
	m.mu.Unlock()
	if known && ctx.Err() == nil {
		m.update(list)
	}
}
