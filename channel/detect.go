package channel

import (
	"context"
	"errors"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// indirect is through how many other members a suspect is probed besides.
const indirect = 2

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
	defer c.unlock()
	for id, l := range c.lives {
		if at := l.heard.Load(); at != 0 {
			c.apply(c.view.Heard(time.Unix(0, at), id))
		}
	}
	c.apply(c.view.Tick(now))
	c.prune()
	c.settle(now)
}

// apply carries out what the view asks for. Called with mu held.
func (c *Channel) apply(s membership.Step) {
	if c.stopped {
		return
	}
	for _, ch := range s.Changes {
		c.later(report(ch))
		if ch.State == membership.Gone {
			c.bury(ch.ID)
		}
	}
	if len(s.Changes) > 0 {
		c.notify()
	}
	for _, id := range s.Probe {
		if l := c.lives[id]; l != nil {
			addr, helpers := l.info.ChannelAddress, c.helpers(id)
			c.spawn(func() { c.probe(id, addr, helpers) })
		}
	}
}

// bury ends the link to a life that is gone, and tells its handlers after
// everything that was to be told before. Called with mu held.
func (c *Channel) bury(id membership.ID) {
	l := c.lives[id]
	if l == nil {
		return
	}
	if l.link != nil {
		l.link.fail(errGone)
	}
	if !l.told {
		return
	}
	l.told = false
	topics := l.topics
	before, done := c.names[id.Name].turn()
	c.spawn(func() {
		<-before
		for _, t := range topics {
			t.h.Gone(id)
		}
		close(done)
	})
}

// helpers are connections to members that can probe another. Called with mu held.
func (c *Channel) helpers(but membership.ID) []Conn {
	var list []Conn
	for id, l := range c.lives { // in an order by chance, as is right here
		if id != but && l.link != nil && l.link.conn != nil && c.view.State(id) == membership.Alive && len(list) < indirect {
			list = append(list, l.link.conn)
		}
	}
	return list
}

// probe looks for a sign of life, directly and through others at once.
func (c *Channel) probe(id membership.ID, addr string, helpers []Conn) {
	ctx, cancel := context.WithTimeout(c.running, max((c.cfg.DownAfter-c.cfg.SuspectAfter)/4, 50*time.Millisecond))
	defer cancel()
	answers := make(chan membership.Outcome, 1+len(helpers))
	c.mu.Lock()
	c.spawn(func() {
		boot, err := c.ask(ctx, addr)
		answers <- outcome(id, boot, err)
	})
	for _, h := range helpers {
		c.spawn(func() {
			boot, err := h.Probe(ctx, c.cfg.Cluster, addr)
			answers <- outcome(id, boot, noRefusal(err))
		})
	}
	stopped := c.stopped
	c.mu.Unlock()
	if stopped {
		return
	}
	o := membership.Failed
	for range 1 + len(helpers) {
		switch a := <-answers; {
		case a == membership.Failed:
		case a == membership.Unasked:
			o = a // unless another member could ask
		default:
			c.probed(id, a)
			return
		}
	}
	c.probed(id, o)
}

func (c *Channel) probed(id membership.ID, o membership.Outcome) {
	c.mu.Lock()
	defer c.unlock()
	c.apply(c.view.Probed(time.Now(), id, o))
}

// ask probes an address over a connection of its own.
func (c *Channel) ask(ctx context.Context, addr string) (uint64, error) {
	conn, err := c.tr.Dial(addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close() //nolint:errcheck // nothing more is wanted of it
	return conn.Probe(ctx, c.cfg.Cluster, "")
}

func outcome(id membership.ID, boot uint64, err error) membership.Outcome {
	switch {
	case errors.Is(err, ErrRefused):
		return membership.Refused
	case errors.Is(err, ErrLack):
		return membership.Unasked
	case err != nil || boot == 0:
		return membership.Failed
	case boot != id.Boot:
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
