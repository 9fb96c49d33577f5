package channel

import (
	"context"
	"errors"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// indirect is how many other members are asked to probe a suspect, too.
const indirect = 2

// probe looks for a sign of life of a suspect, directly and through other members at once.
type probe struct {
	ch      *Channel
	id      membership.ID
	addr    string
	helpers []Conn
}

func (p *probe) run(ctx context.Context) {
	cfg := &p.ch.cfg
	ctx, cancel := context.WithTimeout(ctx, max((cfg.DownAfter-cfg.SuspectAfter)/4, 50*time.Millisecond))
	defer cancel()
	answers := make(chan membership.Outcome, 1+len(p.helpers))
	p.ch.wg.Go(func() {
		incarnation, err := p.ch.ask(ctx, p.addr)
		answers <- p.outcome(incarnation, err)
	})
	for _, h := range p.helpers {
		p.ch.wg.Go(func() {
			incarnation, err := h.Probe(ctx, cfg.Cluster, p.addr)
			answers <- p.outcome(incarnation, noRefusal(err))
		})
	}
	p.ch.probed(p.id, best(answers))
}

// best waits for the first answer that says something of the suspect.
func best(answers <-chan membership.Outcome) membership.Outcome {
	o := membership.Failed
	for range cap(answers) {
		switch a := <-answers; a {
		case membership.Failed:
		case membership.Unasked: // but another member may get an answer
			o = a
		default:
			return a
		}
	}
	return o
}

func (p *probe) outcome(incarnation uint64, err error) membership.Outcome {
	switch {
	case errors.Is(err, ErrRefused):
		return membership.Refused
	case errors.Is(err, ErrLack):
		return membership.Unasked
	case err != nil || incarnation == 0:
		return membership.Failed
	case incarnation != p.id.Incarnation:
		return membership.Replaced
	}
	return membership.Answered
}

// noRefusal keeps a helper that is dead itself from being taken for the suspect.
func noRefusal(err error) error {
	if errors.Is(err, ErrRefused) {
		return errGone
	}
	return err
}

// ask probes an address over a connection of its own. It returns the incarnation of the node there.
func (c *Channel) ask(ctx context.Context, addr string) (uint64, error) {
	conn, err := c.tr.Dial(addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close() //nolint:errcheck // nothing more is wanted of it
	return conn.Probe(ctx, c.cfg.Cluster, "")
}

func (c *Channel) probed(id membership.ID, o membership.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.st.apply(c.st.view.Probed(time.Now(), id, o))
}

// tick drives the view, several times per heartbeat.
func (c *Channel) tick(ctx context.Context) {
	ticker := time.NewTicker(max(c.cfg.Heartbeat/5, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		c.look(time.Now())
	}
}

func (c *Channel) look(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, p := range c.st.peers {
		if at := p.received.Load(); at != 0 {
			c.st.apply(c.st.view.Heard(time.Unix(0, at), id))
		}
	}
	c.st.apply(c.st.view.Tick(now))
	c.st.prune()
	c.st.settle(now)
}
