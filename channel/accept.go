package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/nodeserver/nodeserver/membership"
)

// service is the channel as its transport calls it.
type service struct{ ch *Channel }

var _ Service = service{}

// Exchange receives one stream of another node: hello and welcome, start, and then whatever comes
// until the link that the stream belongs to breaks.
func (s service) Exchange(ctx context.Context, in Incoming) error {
	h, err := s.greet(in)
	if err != nil {
		return err
	}
	m, err := in.Recv()
	switch {
	case errors.Is(err, io.EOF):
		return nil // the sender only asked who is here
	case err != nil:
		return err
	case m.Start == nil || m.Start.Link == 0 || m.Start.Class > Bulk:
		return fmt.Errorf("second message from %s: %w", h.Self.ID, errProtocol)
	}
	k, err := s.ch.onLink(ctx, h.Self, func(k *link) error { return k.takeIn(m.Start) })
	if err != nil {
		return err
	}
	read := make(chan struct{})
	go func() { // of the link, which waits for it: Recv may end only after this call has returned
		defer k.wg.Done()
		defer close(read)
		r := receiver{ch: s.ch, k: k, class: m.Start.Class, in: in}
		r.run()
	}()
	select {
	case <-read:
	case <-k.broken:
	}
	return k.cause()
}

// greet answers a hello, and takes it as a hint where its sender is.
func (s service) greet(in Incoming) (*Hello, error) {
	m, err := in.Recv()
	if err != nil {
		return nil, err
	}
	if m.Hello == nil {
		return nil, fmt.Errorf("first message: %w", errProtocol)
	}
	w, r := s.ch.receiveHello(m.Hello, in.Peer())
	if r != nil {
		return nil, errors.Join(in.Refuse(*r), r)
	}
	return m.Hello, in.Welcome(w)
}

// receiveHello decides about a hello.
func (c *Channel) receiveHello(h *Hello, p Peer) (Welcome, *Refusal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st, subject := &c.st, "in/"+h.Self.Name
	w := Welcome{Self: st.self, Known: st.known()}
	if r := st.judge(h, p); r != nil {
		if r.Reason != RefusedSelf && r.Reason != RefusedLeaving {
			st.say(warn("node refused", "event", "refused", "member", h.Self.Name, "addr", p.Address, "err", r.Text).once(subject, r.Text))
		}
		return w, r
	}
	c.mu.clear(subject)
	st.hints(h.Known)
	addr := h.Self.ChannelAddress
	st.found(addr, announced)
	if d := st.dialers[addr]; d != nil && !st.dialing.rows[addr].linked {
		d.nudge.ring()
	}
	return w, nil
}

// judge tells why a hello is to be refused, or nil.
func (s *state) judge(h *Hello, p Peer) *Refusal {
	self, cluster := s.ch.cfg.Self, s.ch.cfg.Cluster
	refuse := func(why Reason, format string, args ...any) *Refusal {
		return &Refusal{Reason: why, Text: fmt.Sprintf(format, args...)}
	}
	switch err := checkMember(h.Self); {
	case h.Cluster != cluster:
		return refuse(RefusedCluster, "cluster names differ: %s is of cluster %q, %s of %q: give both the same [cluster] name",
			h.Self.Name, h.Cluster, self.Name, cluster)
	case h.WireMax < WireMin || h.WireMin > WireMax:
		return refuse(RefusedWire, "no common wire version: %s speaks %d to %d, %s %d to %d: update the older one",
			h.Self.Name, h.WireMin, h.WireMax, self.Name, WireMin, WireMax)
	case err != nil:
		return refuse(RefusedInvalid, "%v", err)
	case p.Names != nil && !slices.Contains(p.Names, h.Self.Name):
		return refuse(RefusedInvalid, "hello of %q with a certificate of %q", h.Self.Name, strings.Join(p.Names, ", "))
	case s.leaving || s.stopped:
		return refuse(RefusedLeaving, "node %s is leaving", self.Name)
	}
	return s.admit(h.Self)
}

// Failed notes that a connection could not even be made. Anybody can cause that as often as they
// like, so one line a minute is logged of each cause.
func (s service) Failed(addr string, err error) {
	kind := "another"
	for _, cause := range []error{ErrPlain, ErrCertificate, ErrSecret} {
		if errors.Is(err, cause) {
			kind = cause.Error()
			break
		}
	}
	s.ch.mu.say(warn("no connection, the security of the two nodes differs", "event", "refused", "addr", addr, "err", err).
		seldom("failed/" + kind))
}

// Probe answers for this node, or asks the node at target. Only members are asked, so that nobody
// can use this node to connect to other machines.
func (s service) Probe(ctx context.Context, cluster, target string) (uint64, error) {
	c := s.ch
	switch {
	case cluster != c.cfg.Cluster:
		return 0, fmt.Errorf("probe from cluster %q at a node of %q", cluster, c.cfg.Cluster)
	case target == "":
		return c.cfg.Self.Incarnation, nil
	case !c.isMember(target):
		return 0, nil
	}
	incarnation, err := c.ask(ctx, target)
	if err != nil {
		return 0, nil //nolint:nilerr // no answer is the answer
	}
	return incarnation, nil
}

func (c *Channel) isMember(addr string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.st.peers {
		if p.info.ChannelAddress == addr {
			return true
		}
	}
	return false
}

// Watch sends the member list at once and after each change.
func (s service) Watch(ctx context.Context, cluster string, send func([]membership.Status) error) error {
	c := s.ch
	if cluster != c.cfg.Cluster {
		return fmt.Errorf("watch from cluster %q at a node of %q", cluster, c.cfg.Cluster)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(c.st.running, func() { stop(errStopped) })() //nolint:contextcheck // ends with either
	var err error
	c.Watch(ctx, func(list []membership.Status) {
		if err = send(list); err != nil {
			stop(err)
		}
	})
	return context.Cause(ctx)
}
