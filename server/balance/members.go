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
)

// WatchFunc asks the member at a channel address for its member list, and hands
// each version of it to told, until ctx ends or the connection breaks.
type WatchFunc func(ctx context.Context, addr string, told func([]membership.Status)) error

// Bounds of Members.
const (
	maxWatches  = 32                     // members watched at once
	firstRetry  = 100 * time.Millisecond // of a watch that broke; doubles
	slowRetry   = 2 * time.Second        // up to this
	quietFaults = 3                      // attempts before a watch that fails is logged
	doubtTime   = time.Second            // for a member in doubt to answer anew
	forgetAfter = time.Minute            // without being proposed or named, an address that fails is dropped
)

// Members is a Source that asks the cluster who is there: of the members that
// providers propose, and of those that they in turn know, it watches all.
type Members struct {
	providers []membership.Provider
	watch     WatchFunc
	log       *slog.Logger

	telling sync.Mutex // held while update is called, so that calls don't overlap
	update  func([]Node)

	mu      sync.Mutex
	wg      sync.WaitGroup
	watched map[string]time.Time // address: when it was last proposed or named
	live    []*report            // of watches that are up
}

var _ Source = (*Members)(nil)

// NewMembers returns a Source that has opened nothing yet.
func NewMembers(providers []membership.Provider, watch WatchFunc, log *slog.Logger) *Members {
	return &Members{providers: providers, watch: watch, log: log, watched: map[string]time.Time{}}
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
			err := p.Run(ctx, func(c membership.Candidate) { m.follow(ctx, c.Address) })
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

// follow starts a watch at the address unless there is one.
func (m *Members) follow(ctx context.Context, addr string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, is := m.watched[addr]
	if ctx.Err() != nil || !is && len(m.watched) >= maxWatches {
		return
	}
	m.watched[addr] = time.Now()
	if !is {
		m.wg.Go(func() { m.keepWatching(ctx, addr) })
	}
}

func (m *Members) keepWatching(ctx context.Context, addr string) {
	wait, faults := firstRetry, 0
	for ctx.Err() == nil && !m.forget(addr) {
		attempt, again := context.WithCancel(ctx)
		r := &report{addr: addr, again: again}
		err := m.watch(attempt, addr, func(list []membership.Status) {
			wait, faults = firstRetry, 0
			m.told(ctx, r, list)
		})
		again()
		if m.inDoubt(r) { // asked anew at once; meanwhile what it said holds
			m.wg.Go(func() {
				sleep(ctx, doubtTime)
				m.broke(ctx, r)
			})
			continue
		}
		m.broke(ctx, r)
		if faults++; faults == quietFaults && ctx.Err() == nil {
			m.log.Warn("member list not available", "addr", addr, "err", err)
		}
		sleep(ctx, wait)
		wait = min(2*wait, slowRetry)
	}
}

// forget drops the address if nobody has spoken of it for long.
func (m *Members) forget(addr string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.Contains(addresses(m.live), addr) {
		m.watched[addr] = time.Now()
	}
	if time.Since(m.watched[addr]) < forgetAfter {
		return false
	}
	delete(m.watched, addr)
	return true
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// told takes a member's list over.
func (m *Members) told(ctx context.Context, r *report, list []membership.Status) {
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
		m.follow(ctx, addr)
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
