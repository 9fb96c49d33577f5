package channel

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// link joins this node to one peer: two streams out, which this node dialled, and two in, which the
// peer dialled. The link is up when all four are there. When one of them breaks, all are ended,
// here and by that on the peer: so both sides agree on which streams belong to a link, and a
// payload that was sent over an older link never arrives over a newer one.
type link struct {
	ch   *Channel
	peer *peer
	info membership.Member

	complete chan struct{} // closed when all four streams are there
	up       chan struct{} // closed after Connected has returned
	broken   chan struct{} // closed by fail
	leave    chan struct{} // closed by Channel.Leave
	bulkEnd  chan struct{} // closed when the peer has read all bulk, after leave
	before   <-chan struct{}
	done     chan struct{} // closed when everything of the link has returned
	wg       sync.WaitGroup

	sent []Offer // this node's topics when the link began
	got  []Offer // the peer's

	pairing pairing

	// Guarded by Channel.mu.
	err    error  // why the link broke
	number uint64 // the peer's, from its Start; 0: none yet
	in     [2]bool
	own    dialled
}

// dialled is the connection that this node has made for a link, and the two streams out on it.
type dialled struct {
	taken  bool // a dialer is opening the streams
	conn   Conn
	out    [2]Outgoing
	hangUp func()
}

func newLink(ch *Channel, p *peer) *link {
	k := &link{
		ch: ch, peer: p, info: p.info,
		complete: make(chan struct{}), up: make(chan struct{}), broken: make(chan struct{}),
		leave: make(chan struct{}), bulkEnd: make(chan struct{}),
	}
	p.link = k
	return k
}

// fail breaks the link; the first reason counts. Like check, takeIn and takeOut it is called with
// Channel.mu held.
func (k *link) fail(why error) {
	if k.err == nil {
		k.err = why
		close(k.broken)
	}
}

// abort is fail for callers that don't hold the lock.
func (k *link) abort(why error) {
	k.ch.mu.Lock()
	defer k.ch.mu.Unlock()
	k.fail(why)
}

// cause is why the link broke.
func (k *link) cause() error {
	k.ch.mu.Lock()
	defer k.ch.mu.Unlock()
	return k.err
}

// onLink adds streams to the member's link. It waits for a link that is ending, and then begins a
// new one. With an error of add it returns the link, too.
func (c *Channel) onLink(ctx context.Context, m membership.Member, add func(*link) error) (*link, error) {
	for {
		k, err := c.tryLink(m, add)
		if !errors.Is(err, errEnding) {
			return k, err
		}
		select {
		case <-k.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (c *Channel) tryLink(m membership.Member, add func(*link) error) (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, err := c.st.link(m)
	if err != nil {
		return k, err
	}
	return k, add(k)
}

// takeIn makes an incoming stream part of the link. A start with another number than the link's
// says that the peer has begun anew: this link is dead then.
func (k *link) takeIn(s *Start) error {
	if k.number != 0 && k.number != s.Link || k.in[s.Class] {
		k.fail(errAnew)
		return errEnding
	}
	k.number, k.in[s.Class] = s.Link, true
	if s.Class == Live {
		k.got, k.pairing.offered = s.Topics, byTopic(s.Topics)
	}
	k.wg.Add(1)
	k.check()
	return nil
}

// takeOut reserves the streams out for the caller, which must then call setOut or abort.
func (k *link) takeOut() error {
	if k.own.taken {
		return errAlias
	}
	k.own.taken = true
	return nil
}

func (k *link) setOut(conn Conn, out [2]Outgoing, hangUp func()) error {
	k.ch.mu.Lock()
	defer k.ch.mu.Unlock()
	if k.err != nil {
		return k.err
	}
	k.own.conn, k.own.out, k.own.hangUp = conn, out, hangUp
	for class := range out {
		k.wg.Go(func() { k.await(Class(class)) })
	}
	k.check()
	return nil
}

// check sees whether the link is complete.
func (k *link) check() {
	if k.err == nil && k.in[Live] && k.in[Bulk] && k.own.out[Live] != nil {
		close(k.complete)
	}
}

// await breaks the link when the peer ends one of the streams out.
func (k *link) await(class Class) {
	err := k.own.out[class].Wait()
	if err == nil && class == Bulk && closed(k.leave) {
		close(k.bulkEnd)
		return
	}
	if err == nil {
		err = errEnded
	}
	k.abort(err)
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// run sees the link through, from its first stream to the end of its last.
func (k *link) run() {
	up := k.bringUp()
	<-k.broken
	if up {
		k.goDown()
	}
	k.ch.mu.Lock()
	hangUp := k.own.hangUp
	k.ch.mu.Unlock()
	if hangUp != nil {
		hangUp()
	}
	k.wg.Wait()
	<-k.before
	if up {
		k.unmatch()
	}
	k.ch.mu.Lock()
	k.peer.link = nil
	k.ch.mu.Unlock()
	close(k.done)
}

// bringUp waits for the link to be complete and for its turn, calls the handlers, and lets payloads
// flow.
func (k *link) bringUp() bool {
	half := time.NewTimer(k.ch.cfg.DownAfter)
	defer half.Stop()
	select {
	case <-k.complete:
	case <-k.broken:
		return false
	case <-k.leave:
		k.abort(errLeaving)
		return false
	case <-half.C:
		k.abort(errHalf)
		k.ch.mu.say(warn("link stays incomplete", "member", k.peer.id, "addr", k.info.ChannelAddress, "err", errHalf).
			once(halfSubject(k.info), errHalf.Error()))
		return false
	}
	select {
	case <-k.before:
	case <-k.broken:
		return false
	}
	if !k.goUp() {
		return false
	}
	k.pairing.mu.Lock()
	k.pairing.on = true
	k.pairing.mu.Unlock()
	k.match()
	close(k.up)
	for class := range k.own.out {
		k.wg.Go(func() { k.send(Class(class)) })
	}
	return true
}

// halfSubject is the subject of log lines about links to the member that stay incomplete.
func halfSubject(m membership.Member) string { return "half/" + m.Name }

// goUp notes that the link is up, before the handlers are called.
func (k *link) goUp() bool {
	k.ch.mu.Lock()
	defer k.ch.mu.Unlock()
	if k.err != nil {
		return false
	}
	st := &k.ch.st
	st.dialing.joined = true
	k.peer.connected = true
	k.peer.hear()
	k.ch.mu.clear(halfSubject(k.info))
	st.apply(st.view.Connected(time.Now(), membership.Status{
		Member: k.info, State: membership.Alive, Ready: k.peer.ready, Draining: k.peer.draining,
	}))
	return true
}

// goDown notes that a link which was up has broken.
func (k *link) goDown() {
	k.ch.mu.Lock()
	defer k.ch.mu.Unlock()
	st := &k.ch.st
	if !st.stopped && !st.leaving {
		st.say(info("disconnected", "member", k.peer.id, "err", k.err))
		st.apply(st.view.Closed(time.Now(), k.peer.id))
	}
}
