package channel

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// link joins this node to one life of a member: two streams out, which this
// node dialled, and two in, which the other dialled. It is up when all four
// are, and when one breaks, all are ended, here and by that there: so both
// sides agree on what belongs to a link, and nothing sent over an older one is
// ever received in a newer one.
type link struct {
	life   *life
	info   membership.Member
	topics []*Topic

	complete chan struct{} // closed when all four streams are there
	up       chan struct{} // closed after Connected has returned
	broken   chan struct{} // closed by fail
	leave    chan struct{} // closed by Channel.Leave
	bulkEnd  chan struct{} // closed when the other has read all bulk, after leave
	before   <-chan struct{}
	done     chan struct{} // closed when everything of the link has returned
	wg       sync.WaitGroup

	begun [2][]byte // a payload that has come in part; of each class's reader alone

	// Guarded by Channel.mu.
	err    error  // why it broke
	number uint64 // the other's, from its Start; 0: none yet
	in     [2]bool
	taken  bool // somebody is opening the streams out
	conn   Conn
	out    [2]Outgoing
	hangUp func()
}

// newLink begins a link to a life that has none. Called with mu held.
func (c *Channel) newLink(l *life) *link {
	k := &link{
		life: l, info: l.info, topics: c.topicsOf(l.info),
		complete: make(chan struct{}), up: make(chan struct{}), broken: make(chan struct{}),
		leave: make(chan struct{}), bulkEnd: make(chan struct{}),
	}
	k.before, k.done = c.names[l.id.Name].turn()
	l.link, l.topics = k, k.topics
	c.spawn(func() { c.runLink(k) })
	return k
}

// fail breaks the link; the first reason counts. Called with Channel.mu held.
func (k *link) fail(why error) {
	if k.err == nil {
		k.err = why
		close(k.broken)
	}
}

func (c *Channel) fail(k *link, why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k.fail(why)
}

func (c *Channel) cause(k *link) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return k.err
}

// current is the life's link to add streams to, made if there is none. It
// waits for one that is ending. Called with mu held, which it gives up while it
// waits; refusal may then have changed, so it is asked again.
func (c *Channel) current(ctx context.Context, m membership.Member) (*link, error) {
	for {
		if c.stopped || c.leaving {
			return nil, errLeaving
		}
		if r := c.admit(m); r != nil {
			return nil, r
		}
		l := c.know(m)
		switch {
		case l.link == nil:
			return c.newLink(l), nil
		case l.link.err == nil:
			return l.link, nil
		}
		ending := l.link
		c.mu.Unlock()
		select {
		case <-ending.done:
		case <-ctx.Done():
		}
		c.mu.Lock()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// attachIn makes an incoming stream part of the link to its sender. A start
// with another number than the link's says that the sender has begun anew: the
// link we have is a dead one then.
func (c *Channel) attachIn(ctx context.Context, h *Hello, s *Start) (*link, error) {
	c.mu.Lock()
	defer c.unlock()
	for {
		k, err := c.current(ctx, h.Self)
		if err != nil {
			return nil, err
		}
		if k.number != 0 && k.number != s.Link || k.in[s.Class] {
			k.fail(errAnew)
			continue
		}
		k.number, k.in[s.Class] = s.Link, true
		k.wg.Add(1)
		k.check()
		return k, nil
	}
}

// takeOut reserves the link's streams out for the caller, who must then call
// setOut or fail. errAlias comes with the link that has them already.
func (c *Channel) takeOut(ctx context.Context, w Welcome) (*link, error) {
	c.mu.Lock()
	defer c.unlock()
	k, err := c.current(ctx, w.Self)
	switch {
	case err != nil:
		return nil, err
	case k.taken:
		return k, errAlias
	}
	k.taken = true
	return k, nil
}

func (c *Channel) setOut(k *link, conn Conn, out [2]Outgoing, hangUp func()) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.err != nil {
		return k.err
	}
	k.conn, k.out, k.hangUp = conn, out, hangUp
	for class := range out {
		k.wg.Go(func() { c.await(k, Class(class)) })
	}
	k.check()
	return nil
}

// check sees whether the link is complete. Called with Channel.mu held.
func (k *link) check() {
	if k.err == nil && k.in[Live] && k.in[Bulk] && k.out[Live] != nil {
		close(k.complete)
	}
}

// await breaks the link when the other side ends one of the streams out.
func (c *Channel) await(k *link, class Class) {
	err := k.out[class].Wait()
	if err == nil && class == Bulk && k.leaves() {
		close(k.bulkEnd)
		return
	}
	if err == nil {
		err = errEnded
	}
	c.fail(k, err)
}

func (k *link) leaves() bool {
	select {
	case <-k.leave:
		return true
	default:
		return false
	}
}

// runLink sees a link through, from its first stream to the end of its last.
func (c *Channel) runLink(k *link) {
	up := c.bringUp(k)
	<-k.broken
	if up {
		c.lost(k)
	}
	c.mu.Lock()
	hangUp := k.hangUp
	c.mu.Unlock()
	if hangUp != nil {
		hangUp()
	}
	k.wg.Wait()
	<-k.before
	if up {
		for _, t := range k.topics {
			t.h.Disconnected(k.life.id)
		}
	}
	c.mu.Lock()
	k.life.link = nil
	c.unlock()
	close(k.done)
}

// bringUp waits for the link to be complete and for its turn, tells the
// handlers, and lets payloads flow.
func (c *Channel) bringUp(k *link) bool {
	half := time.NewTimer(c.cfg.DownAfter)
	defer half.Stop()
	select {
	case <-k.complete:
	case <-k.broken:
		return false
	case <-k.leave:
		c.fail(k, errLeaving)
		return false
	case <-half.C:
		c.fail(k, errHalf)
		c.note("half/"+k.life.id.Name, errHalf.Error(), "link stays incomplete",
			"member", k.life.id, "addr", k.info.ChannelAddress)
		return false
	}
	select {
	case <-k.before:
	case <-k.broken:
		return false
	}
	if !c.linked(k) {
		return false
	}
	for _, t := range k.topics {
		t.h.Connected(k.info)
	}
	close(k.up)
	for class := range k.out {
		k.wg.Go(func() { c.send(k, Class(class)) })
	}
	return true
}

// linked notes that the link is up, before the handlers hear of it.
func (c *Channel) linked(k *link) bool {
	c.mu.Lock()
	defer c.unlock()
	if k.err != nil {
		return false
	}
	c.joined = true
	k.life.told = true
	k.life.hear()
	delete(c.notes, "half/"+k.life.id.Name)
	s := membership.Status{Member: k.info, State: membership.Alive, Ready: k.life.ready, Draining: k.life.drains}
	c.apply(c.view.Connected(time.Now(), s))
	return true
}

// lost notes that a link which was up has broken.
func (c *Channel) lost(k *link) {
	c.mu.Lock()
	defer c.unlock()
	if !c.stopped && !c.leaving {
		c.later(note{text: "disconnected", args: []any{"member", k.life.id, "err", k.err}})
		c.apply(c.view.Closed(time.Now(), k.life.id))
	}
}

// read takes what comes in over one stream of the link, until it ends.
func (c *Channel) read(k *link, class Class, in Incoming) {
	for {
		m, err := in.Recv()
		switch {
		case errors.Is(err, io.EOF) && class == Bulk:
			return // the sender leaves; the rest comes on the live stream
		case errors.Is(err, io.EOF):
			c.fail(k, errEnded)
			return
		case err != nil:
			c.fail(k, err)
			return
		}
		k.life.hear()
		switch {
		case m.Frame != nil:
			if !c.deliver(k, class, m.Frame) {
				return
			}
		case m.Heartbeat != nil:
			c.told(k.life, *m.Heartbeat)
		case m.Leave != nil:
			c.left(k, *m.Leave)
			return
		}
	}
}

// deliver hands payloads to their topics' handlers. Those that come before the
// handlers know of the link wait for that.
func (c *Channel) deliver(k *link, class Class, frame []Payload) bool {
	select {
	case <-k.up:
	case <-k.broken:
		return false
	}
	for _, p := range frame {
		if !k.whole(class, &p) {
			continue
		}
		if len(p.Data) > MaxPayload {
			c.fail(k, errProtocol)
			return false
		}
		t := k.topic(p.Topic)
		if t == nil {
			c.warn("topic", "payload of an unknown topic dropped", "member", k.life.id, "topic", p.Topic)
			continue
		}
		t.h.Receive(k.life.id, class, p.Data)
	}
	return true
}

// whole joins the pieces of a payload; false: there is more to come. What is too
// long is not kept.
func (k *link) whole(class Class, p *Payload) bool {
	if begun := k.begun[class]; begun != nil {
		p.Data, k.begun[class] = append(begun, p.Data...), nil
	}
	if !p.More || len(p.Data) > MaxPayload {
		return true
	}
	k.begun[class] = p.Data
	return false
}

func (k *link) topic(name string) *Topic {
	for _, t := range k.topics {
		if t.name == name {
			return t
		}
	}
	return nil
}
