package channel

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"time"
)

// standing is who vouches for an address. Each has a quota of its own, so that
// those who can be made up by anybody don't keep out others.
type standing int

const (
	unproven standing = iota // anybody on the network can have proposed it
	told                     // a member spoke of it
	listed                   // the operator did, by a list, a file or a name
	standings
)

// candidate is an address where a member may be, and the goroutine that dials
// it again and again. Guarded by Channel.mu.
type candidate struct {
	addr   string
	rank   standing
	self   bool // it is this very node
	tried  bool // to an end: linked, or not
	absent bool // the last dial was refused by its machine: no node runs there
	linked bool
	good   time.Time // when it was last linked
	since  time.Time // of failing
	seen   time.Time // when it was last proposed
	taken  time.Time // since when the name is refused there as taken
	gaveUp bool      // said that nobody answers
	plain  bool      // the last dial met ErrPlain
	err    error     // this node's problem there: *DuplicateNameError, *SupersededError
	stray  error     // why this node is none of its cluster, as it said last: secret, name, version
	nudge  bell
	cancel context.CancelFunc
}

// found takes an address to dial.
func (c *Channel) found(addr string, rank standing) {
	c.mu.Lock()
	defer c.unlock()
	if addr == "" || addr == c.cfg.Self.ChannelAddress || c.stopped || c.running == nil {
		return
	}
	now := time.Now()
	if d := c.cands[addr]; d != nil {
		d.rank, d.seen = max(d.rank, rank), now
		return
	}
	if c.count(rank) >= maxCandidates && !c.evict(rank) {
		c.seldom("candidates", tooMany, "addr", addr)
		return
	}
	ctx, cancel := context.WithCancel(c.running)
	d := &candidate{addr: addr, rank: rank, since: now, seen: now, nudge: make(bell, 1), cancel: cancel}
	c.cands[addr] = d
	c.spawn(func() { c.pursue(ctx, d) })
}

func (c *Channel) count(rank standing) (n int) {
	for _, d := range c.cands {
		if d.rank == rank {
			n++
		}
	}
	return n
}

// evict drops the candidate of the standing that has been failing for longest. Of
// unproven ones it may also be one that is still dialled: a member answers within
// a few milliseconds, and what doesn't must not keep it out. Called with mu held.
func (c *Channel) evict(rank standing) bool {
	var worst *candidate
	for _, d := range c.cands {
		if d.rank != rank || d.linked || !d.tried && rank != unproven {
			continue
		}
		if worst == nil || d.tried && !worst.tried || d.tried == worst.tried && d.since.Before(worst.since) {
			worst = d
		}
	}
	if worst == nil {
		return false
	}
	if !worst.tried {
		c.seldom("candidates", tooMany, "addr", worst.addr)
	}
	c.forget(worst)
	return true
}

const tooMany = "too many addresses to dial, some are ignored"

// expired tells whether a candidate that fails is to be forgotten. Called with mu held.
func (d *candidate) expired(now time.Time) bool {
	switch {
	case d.linked:
		return false
	case d.rank == unproven:
		return now.Sub(d.seen) > unprovenLife
	case d.rank == told:
		return now.Sub(d.since) > lately
	}
	return now.Sub(d.since) > lately && now.Sub(d.seen) > lately // it is listed no more
}

// forget ends a candidate's goroutine. Called with mu held.
func (c *Channel) forget(d *candidate) {
	d.cancel()
	delete(c.cands, d.addr)
	c.noteClear("out/" + d.addr)
}

// pursue dials an address until it is known to be this node itself, or is
// forgotten, or the channel stops.
func (c *Channel) pursue(ctx context.Context, d *candidate) {
	var wait time.Duration
	for ctx.Err() == nil {
		k, err := c.attempt(ctx, d)
		if err != nil && ctx.Err() != nil {
			return // ended by ourselves: the error is nobody's
		}
		if err == nil {
			c.follow(ctx, k, d)
			wait = 0
		} else if !c.failed(d, err) {
			return
		}
		if errors.Is(err, errAlias) { // its own address shall be first
			c.follow(ctx, k, d)
			wait = retryAtMost
		}
		wait = c.backoff(d, wait)
		if d.pause(ctx, wait/2+mrand.N(wait)) {
			wait = 0
		}
	}
}

// pause waits, for less if the candidate is nudged: it says hello, so it is
// there. Two that nudge but refuse each other do so at a moderate pace.
func (d *candidate) pause(ctx context.Context, wait time.Duration) (nudged bool) {
	least := min(wait, firstRetry)
	if !sleep(ctx, nil, least) {
		return false
	}
	return !sleep(ctx, d.nudge, wait-least)
}

// sleep tells whether the whole time passed before ctx ended or the bell rang.
func sleep(ctx context.Context, b bell, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-b:
	case <-ctx.Done():
	}
	return false
}

// follow waits for the end of a link.
func (c *Channel) follow(ctx context.Context, k *link, d *candidate) {
	c.mu.Lock()
	d.linked = true
	c.mu.Unlock()
	select {
	case <-k.up:
		c.succeeded(d)
	case <-k.done:
	case <-ctx.Done():
	}
	select {
	case <-k.done:
	case <-ctx.Done():
	}
	c.mu.Lock()
	d.linked, d.since, d.tried = false, time.Now(), true
	c.mu.Unlock()
}

func (c *Channel) succeeded(d *candidate) {
	c.mu.Lock()
	defer c.unlock()
	d.tried, d.gaveUp, d.absent, d.good, d.taken = true, false, false, time.Now(), time.Time{}
	d.stray, d.rank = nil, max(d.rank, told) // it has proven to be a member
	c.problem(d, nil)
	c.noteClear("out/" + d.addr)
	c.settle(time.Now())
}

func (c *Channel) backoff(d *candidate, last time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	limit := retryAtMost
	switch now := time.Now(); {
	case !d.taken.IsZero():
		limit = retryLately / 2
	case now.Sub(d.good) < lately:
		limit = retryLately
	case d.rank == unproven:
		limit = unprovenSlow
	}
	return min(max(2*last, firstRetry), limit)
}

// attempt dials once. The link it returns is being completed by others; with
// errAlias it is one that is there already. Unproven addresses take no place among
// the dials of others: there are as many as their quota allows.
func (c *Channel) attempt(ctx context.Context, d *candidate) (k *link, err error) {
	c.mu.Lock()
	rank := d.rank
	c.mu.Unlock()
	if rank != unproven {
		select {
		case c.dials <- struct{}{}:
			defer func() { <-c.dials }()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if c.isLeaving() {
		return nil, errLeaving
	}
	conn, err := c.tr.Dial(d.addr)
	if err != nil {
		return nil, err
	}
	streams, cancel := context.WithCancelCause(ctx)
	hangUp := func() {
		cancel(nil)
		conn.Close() //nolint:errcheck // nothing is lost that isn't lost already
	}
	patience := time.AfterFunc(dialTimeout, func() { cancel(fmt.Errorf("no welcome within %v", dialTimeout)) })
	defer patience.Stop()
	k, err = c.open(streams, conn, hangUp)
	if err != nil {
		if cause := context.Cause(streams); cause != nil && !errors.Is(err, errAlias) {
			err = fmt.Errorf("%w (%w)", cause, err)
		}
		hangUp()
	}
	return k, err
}

// open asks who is at the other end, and makes two streams of a link to it.
func (c *Channel) open(ctx context.Context, conn Conn, hangUp func()) (*link, error) {
	hello := c.hello()
	live, w, err := conn.Exchange(ctx, hello)
	if err != nil {
		return nil, err
	}
	if err := checkMember(w.Self); err != nil {
		return nil, fmt.Errorf("welcome: %w", err)
	}
	c.hints(append(w.Known, w.Self))
	k, err := c.takeOut(ctx, w)
	if err != nil {
		return k, notOurs(err)
	}
	bulk, _, err := conn.Exchange(ctx, hello)
	if err == nil {
		err = start([2]Outgoing{live, bulk})
	}
	if err == nil {
		err = c.setOut(k, conn, [2]Outgoing{live, bulk}, hangUp)
	}
	if err != nil {
		c.fail(k, err)
		return nil, err
	}
	return k, nil
}

// notOurs hides a refusal by this node from those who look for a refusal of it.
func notOurs(err error) error {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return fmt.Errorf("node not accepted: %s", r.Text)
	}
	return err
}

func start(out [2]Outgoing) error {
	number := nonZero()
	for class, o := range out {
		if err := o.Send(Message{Start: &Start{Class: Class(class), Link: number}}); err != nil {
			return err
		}
	}
	return nil
}

func nonZero() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:]) | 1
}

func (c *Channel) hello() Hello {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Hello{
		Cluster: c.cfg.Cluster, WireMin: WireMin, WireMax: WireMax,
		Self: c.cfg.Self, Known: c.known(),
	}
}

// failed notes why a dial failed, and tells whether to go on.
func (c *Channel) failed(d *candidate, err error) bool {
	c.mu.Lock()
	defer c.unlock()
	defer func() { c.settle(time.Now()) }()
	r, ok := errors.AsType[*Refusal](err)
	if !ok {
		r = &Refusal{}
	}
	now := time.Now()
	d.absent = errors.Is(err, ErrRefused)
	if r.Reason == RefusedSelf {
		d.self, d.tried = true, true
		return false
	}
	switch {
	case r.Reason == RefusedDuplicate && (!r.Newcomer || c.cfg.Self.Boot >= r.Holder.Boot): // of two that start at once the lower boot stays
		c.nameTaken(d, now, r)
	case r.Reason == RefusedSuperseded:
		d.taken = time.Time{}
		c.problem(d, &SupersededError{Name: c.cfg.Self.Name, Address: r.Holder.ChannelAddress})
	default:
		d.taken = time.Time{}
		c.problem(d, nil)
	}
	plainBefore := d.plain
	c.sayWhy(d, now, r, err)
	d.stray = nil
	switch {
	case r.Reason == RefusedCluster || r.Reason == RefusedWire, errors.Is(err, ErrSecret), d.plain && plainBefore:
		d.stray = err
	}
	// What looks like plain text once may have been about to stop; and an alias is
	// tried when the link that is there is up.
	d.tried = (!d.plain || plainBefore) && !errors.Is(err, errAlias)
	if d.expired(now) {
		c.forget(d)
		return false
	}
	return !c.leaving
}

// nameTaken notes that a live node has this one's name. A life of ours that
// was just killed may look alive for a moment; so a newcomer gives up only
// after that time. Who is a member already only needs to care when other
// members hold another one for the member: the claim of the other itself may be
// that of a superseded life. Called with mu held.
func (c *Channel) nameTaken(d *candidate, now time.Time, r *Refusal) {
	problem := &DuplicateNameError{Name: c.cfg.Self.Name, Address: r.Holder.ChannelAddress}
	if d.taken.IsZero() {
		d.taken = now
	}
	if c.joined {
		if !r.Own {
			c.problem(d, problem)
		}
	} else if now.Sub(d.taken) >= c.cfg.DownAfter {
		c.stop(problem)
	}
}

// sayWhy logs what an operator should know of, once: differences at once,
// silence after a while.
func (c *Channel) sayWhy(d *candidate, now time.Time, r *Refusal, err error) {
	before := d.plain
	d.plain = errors.Is(err, ErrPlain)
	switch {
	case errors.Is(err, errAlias) || errors.Is(err, errLeaving) || r.Reason == RefusedLeaving:
	case d.rank == unproven: // whoever made it up shall not fill the log
		if now.Sub(d.since) > unprovenTime || r.Reason != 0 || d.plain || errors.Is(err, ErrSecret) {
			c.seldom("unproven", "an address found by mdns leads to no member of this cluster", "addr", d.addr, "err", err)
		}
	case d.plain && !before: // or it was just about to stop
	case errors.Is(err, ErrSecret), d.plain:
		c.noteLocked("out/"+d.addr, err.Error(), "connection refused", "addr", d.addr, "err", err)
	case r.Reason != 0:
		c.noteLocked("out/"+d.addr, r.Text, "refused by node", "addr", d.addr, "err", r.Text)
	case !d.gaveUp && now.Sub(d.since) > 10*time.Second && now.Sub(d.good) > 10*time.Second:
		d.gaveUp = true
		c.later(note{warn: true, text: "nobody answers, going on trying", args: []any{"addr", d.addr, "err", err}})
	default:
		c.later(note{debug: true, text: "dial", args: []any{"addr", d.addr, "err", err}})
	}
}
