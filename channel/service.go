package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// service is the channel as its transport calls it.
type service Channel

var _ Service = (*service)(nil)

// Exchange receives one stream of another node: hello and welcome, start, and
// then whatever comes until the link it belongs to breaks.
func (s *service) Exchange(ctx context.Context, in Incoming) error {
	c := (*Channel)(s)
	h, err := c.greet(in)
	if err != nil {
		return err
	}
	m, err := in.Recv()
	switch {
	case errors.Is(err, io.EOF):
		return nil // only asked who is here
	case err != nil:
		return err
	case m.Start == nil || m.Start.Link == 0 || m.Start.Class > Bulk:
		return fmt.Errorf("second message from %s: %w", h.Self.ID, errProtocol)
	}
	k, err := c.attachIn(ctx, h, m.Start)
	if err != nil {
		return err
	}
	read := make(chan struct{})
	go func() { // of the link, which waits for it: Recv may end only after this call has returned
		defer k.wg.Done()
		defer close(read)
		c.read(k, m.Start.Class, in)
	}()
	select {
	case <-read:
	case <-k.broken:
	}
	return c.cause(k)
}

// greet answers a hello, and takes it as a hint where its sender is.
func (c *Channel) greet(in Incoming) (*Hello, error) {
	m, err := in.Recv()
	if err != nil {
		return nil, err
	}
	if m.Hello == nil {
		return nil, fmt.Errorf("first message: %w", errProtocol)
	}
	h := m.Hello
	c.mu.Lock()
	r := c.judge(h, in.Peer())
	w := Welcome{Self: c.cfg.Self, Known: c.known()}
	c.mu.Unlock()
	if r != nil {
		c.refused(h, in.Peer(), r)
		return nil, errors.Join(in.Refuse(*r), r)
	}
	c.unnote("in/" + h.Self.Name)
	c.heardOf(h.Self, h.Known)
	return h, in.Welcome(w)
}

// heardOf takes the hints in a hello: its sender is at its address now.
func (c *Channel) heardOf(from membership.Member, known []membership.Member) {
	c.hints(known)
	c.found(from.ChannelAddress, told)
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.cands[from.ChannelAddress]; d != nil && !d.linked {
		d.nudge.ring()
	}
}

// hints takes the addresses of members that another one knows.
func (c *Channel) hints(known []membership.Member) {
	for _, m := range known[:min(len(known), maxKnown+1)] {
		if m.ID != c.cfg.Self.ID && checkMember(m) == nil {
			c.found(m.ChannelAddress, told)
		}
	}
}

// judge decides about a hello. Called with mu held.
func (c *Channel) judge(h *Hello, p Peer) *Refusal {
	self := c.cfg.Self
	switch err := checkMember(h.Self); {
	case h.Cluster != c.cfg.Cluster:
		return &Refusal{Reason: RefusedCluster, Text: fmt.Sprintf(
			"cluster names differ: %s is of cluster %q, %s of %q: give both the same [cluster] name", h.Self.Name, h.Cluster, self.Name, c.cfg.Cluster)}
	case h.WireMax < WireMin || h.WireMin > WireMax:
		return &Refusal{Reason: RefusedWire, Text: fmt.Sprintf(
			"no common wire version: %s speaks %d to %d, %s %d to %d: update the older one", h.Self.Name, h.WireMin, h.WireMax, self.Name, WireMin, WireMax)}
	case err != nil:
		return &Refusal{Reason: RefusedInvalid, Text: err.Error()}
	case p.Names != nil && !slices.Contains(p.Names, h.Self.Name):
		return &Refusal{Reason: RefusedInvalid, Text: fmt.Sprintf(
			"hello of %q with a certificate of %q", h.Self.Name, strings.Join(p.Names, ", "))}
	case c.leaving || c.stopped:
		return &Refusal{Reason: RefusedLeaving, Text: "node " + self.Name + " is leaving"}
	}
	return c.admit(h.Self)
}

// admit decides whether this life of a name may be linked to, either way. A
// name has one life at a time: a new one takes over only when the one we know
// doesn't live, and one that was taken over from never comes back. Called with
// mu held.
func (c *Channel) admit(m membership.Member) *Refusal {
	self := c.cfg.Self
	if m.ID == self.ID {
		return &Refusal{Reason: RefusedSelf, Text: "this is " + self.Name + " itself"}
	}
	if m.Name == self.Name {
		r := duplicate(m, self)
		r.Own, r.Newcomer = true, !c.joined
		return r
	}
	h := c.names[m.Name]
	switch {
	case h == nil || h.life == nil || h.life.id == m.ID:
		return nil
	case slices.Contains(h.over, m.Boot):
		return &Refusal{Reason: RefusedSuperseded, Holder: h.life.info, Text: fmt.Sprintf(
			"superseded: a newer node of the name %q is at %s", m.Name, h.life.info.ChannelAddress)}
	case c.view.State(h.life.id) == membership.Alive:
		return duplicate(m, h.life.info)
	}
	return nil
}

func duplicate(m, holder membership.Member) *Refusal {
	return &Refusal{Reason: RefusedDuplicate, Holder: holder, Text: fmt.Sprintf(
		"duplicate node name: %q at %s is taken by the live node at %s: choose another [node] name", m.Name, m.ChannelAddress, holder.ChannelAddress)}
}

// refused tells the log about a hello that was refused, once per sender and reason.
func (c *Channel) refused(h *Hello, p Peer, r *Refusal) {
	if r.Reason == RefusedSelf || r.Reason == RefusedLeaving {
		return
	}
	c.note("in/"+h.Self.Name, r.Text, "node refused", "member", h.Self.Name, "addr", p.Address, "err", r.Text)
}

// Failed notes that somebody could not even connect. Anybody can do that as often as
// they like, so a line a minute is logged of each cause, however many there were.
func (s *service) Failed(addr string, err error) {
	c := (*Channel)(s)
	kind := "another"
	for _, cause := range []error{ErrPlain, ErrCertificate, ErrSecret} {
		if errors.Is(err, cause) {
			kind = cause.Error()
			break
		}
	}
	c.mu.Lock()
	defer c.unlock()
	c.seldom("failed/"+kind, "connection refused", "addr", addr, "err", err)
}

// Probe answers for this node, or asks another member. Only members are asked,
// so that nobody can use this node to knock at other doors.
func (s *service) Probe(ctx context.Context, cluster, target string) (uint64, error) {
	c := (*Channel)(s)
	if cluster != c.cfg.Cluster {
		return 0, fmt.Errorf("probe from cluster %q at a node of %q", cluster, c.cfg.Cluster)
	}
	if target == "" {
		return c.cfg.Self.Boot, nil
	}
	c.mu.Lock()
	known := false
	for _, l := range c.lives {
		known = known || l.info.ChannelAddress == target
	}
	c.mu.Unlock()
	if !known {
		return 0, nil
	}
	boot, err := c.ask(ctx, target)
	if err != nil {
		return 0, nil //nolint:nilerr // no answer is the answer
	}
	return boot, nil
}

// Watch sends the member list now and after each change.
func (s *service) Watch(ctx context.Context, cluster string, send func([]membership.Status) error) error {
	c := (*Channel)(s)
	if cluster != c.cfg.Cluster {
		return fmt.Errorf("watch from cluster %q at a node of %q", cluster, c.cfg.Cluster)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(c.running, func() { stop(errStopped) })() //nolint:contextcheck // ends with either
	var err error
	c.Watch(ctx, func(list []membership.Status) {
		if err = send(list); err != nil {
			stop(err)
		}
	})
	return context.Cause(ctx)
}

// told notes what a member says about itself and others.
func (c *Channel) told(l *life, h Heartbeat) {
	c.mu.Lock()
	l.ready, l.drains = h.Ready, h.Draining
	c.apply(c.view.Told(l.id, h.Ready, h.Draining))
	c.unlock()
	c.hints(h.Known)
}

// left notes that a member leaves in order.
func (c *Channel) left(k *link, l Leave) {
	c.mu.Lock()
	defer c.unlock()
	k.fail(errLeft)
	c.apply(c.view.Ended(time.Now(), k.life.id, "left: "+l.Reason))
}
