package channel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// dialer dials one address again and again, as the dialing says. It runs until the address is known
// to be this node's own or is forgotten, or the channel stops.
type dialer struct {
	ch     *Channel
	addr   string
	nudge  bell
	cancel context.CancelFunc
}

func newDialer(ch *Channel, addr string) *dialer {
	return &dialer{ch: ch, addr: addr, nudge: make(bell, 1)}
}

func (d *dialer) run(ctx context.Context) {
	defer d.cancel()
	for ctx.Err() == nil {
		k, err := d.attempt(ctx)
		if err != nil && ctx.Err() != nil {
			return // ended by this node: the error says nothing of the address
		}
		if err != nil && !d.failed(err) {
			return
		}
		if k != nil {
			d.follow(ctx, k, err != nil)
		}
		if d.pause(ctx) {
			d.report(func(t *dialing) { t.nudged(d.addr) })
		}
	}
}

// report has f note something, unless the address was forgotten meanwhile.
func (d *dialer) report(f func(*dialing)) {
	d.ch.mu.Lock()
	defer d.ch.mu.Unlock()
	if st := &d.ch.st; st.dialers[d.addr] == d {
		f(&st.dialing)
	}
}

// failed notes why a dial failed, and tells whether to go on.
func (d *dialer) failed(err error) (again bool) {
	d.report(func(t *dialing) {
		st, now := &d.ch.st, time.Now()
		var step dialStep
		step, again = t.failed(now, d.addr, err)
		st.carryOut(step)
		st.settle(now)
		again = again && !st.leaving
	})
	return again
}

// follow waits for the end of a link.
func (d *dialer) follow(ctx context.Context, k *link, alias bool) {
	d.report(func(t *dialing) { t.linking(d.addr) })
	select {
	case <-k.up:
		d.report(func(t *dialing) {
			st, now := &d.ch.st, time.Now()
			st.carryOut(t.up(now, d.addr))
			d.ch.mu.clear(outSubject(d.addr))
			st.settle(now)
		})
	case <-k.done:
	case <-ctx.Done():
	}
	select {
	case <-k.done:
	case <-ctx.Done():
	}
	d.report(func(t *dialing) { t.ended(time.Now(), d.addr, alias) })
}

// pause waits for the next dial, for less if the member there says hello meanwhile. Two nodes that
// nudge but refuse each other do so at a moderate pace.
func (d *dialer) pause(ctx context.Context) (nudged bool) {
	wait := firstRetry
	d.report(func(t *dialing) { wait = t.pause(time.Now(), d.addr) })
	wait = wait/2 + rand.N(wait)
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

// attempt dials once. Others complete the link that it returns; with errAlias it is one that is
// there already. Unproven addresses take no place among the dials of others: there are as many as
// their quota allows.
func (d *dialer) attempt(ctx context.Context) (k *link, err error) {
	rank := unproven
	d.report(func(t *dialing) { rank = t.rows[d.addr].rank })
	if rank != unproven {
		select {
		case d.ch.dials <- struct{}{}:
			defer func() { <-d.ch.dials }()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if d.ch.isLeaving() {
		return nil, errLeaving
	}
	conn, err := d.ch.tr.Dial(d.addr)
	if err != nil {
		return nil, err
	}
	streams, cancel := context.WithCancelCause(ctx)
	hangUp := func() {
		cancel(nil)
		conn.Close() //nolint:errcheck // nothing is lost that isn't lost already
	}
	limit := time.AfterFunc(dialTimeout, func() { cancel(fmt.Errorf("no welcome within %v", dialTimeout)) })
	defer limit.Stop()
	k, err = d.ch.open(streams, conn, hangUp)
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
	c.welcomed(w)
	k, err := c.onLink(ctx, w.Self, (*link).takeOut)
	switch {
	case errors.Is(err, errAlias):
		return k, err
	case err != nil:
		return nil, notOurs(err)
	}
	bulk, _, err := conn.Exchange(ctx, hello)
	if err == nil {
		err = k.start([2]Outgoing{live, bulk})
	}
	if err == nil {
		err = k.setOut(conn, [2]Outgoing{live, bulk}, hangUp)
	}
	if err != nil {
		k.abort(err)
		return nil, err
	}
	return k, nil
}

func (c *Channel) hello() Hello {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.st.hello()
}

// welcomed takes the addresses in a welcome.
func (c *Channel) welcomed(w Welcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.st.hints(append(w.Known, w.Self))
}

// notOurs hides a refusal by this node from code that looks for a refusal of this node.
func notOurs(err error) error {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return fmt.Errorf("node not accepted: %s", r.Text)
	}
	return err
}

// start says which link the streams are of, and which topics there are here.
func (k *link) start(out [2]Outgoing) error {
	number := membership.NewIncarnation()
	k.sent = k.offers()
	err := out[Live].Send(Message{Start: &Start{Class: Live, Link: number, Topics: k.sent}})
	if err == nil {
		err = out[Bulk].Send(Message{Start: &Start{Class: Bulk, Link: number}})
	}
	return err
}
