package channel

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// life is one life of one member: everything about a member is kept by its ID,
// so that two lives are never mixed up. Guarded by Channel.mu where not atomic
// or a channel.
type life struct {
	id     membership.ID
	info   membership.Member // as told last
	link   *link             // nil: none
	topics []*Topic          // served by the member, as of the latest link
	told   bool              // handlers know it: Connected was called, Gone not yet
	ready  bool              // as its heartbeats say
	drains bool

	heard atomic.Int64 // unix ns of the latest message
	wakes [2]bell2
	tell  bell // heartbeat wanted now
}

// holder is a member's name, and who has it.
type holder struct {
	life *life
	over []uint64      // boots of the lives before, as far as they matter
	tail chan struct{} // closed when all handler calls about the name ordered so far are done
}

// bell is a wake-up that is not lost and not counted.
type bell chan struct{}

func (b bell) ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// bell2 is a bell with two tones.
type bell2 struct{ soon, now bell }

func (b bell2) ring(urgent bool) {
	if urgent {
		b.now.ring()
		return
	}
	b.soon.ring()
}

func newLife(id membership.ID) *life {
	l := &life{id: id, tell: make(bell, 1)}
	for i := range l.wakes {
		l.wakes[i] = bell2{soon: make(bell, 1), now: make(bell, 1)}
	}
	return l
}

func (l *life) hear() { l.heard.Store(time.Now().UnixNano()) }

// turn takes the next place in the order of handler calls about the name: they
// may begin when before is closed, and done is to be closed after them.
func (h *holder) turn() (before <-chan struct{}, done chan struct{}) {
	before, done = h.tail, make(chan struct{})
	h.tail = done
	return before, done
}

// know returns the life of a member that was admitted, and ends the life that
// had the name before. Called with mu held.
func (c *Channel) know(m membership.Member) *life {
	h := c.names[m.Name]
	if h == nil {
		h = &holder{tail: make(chan struct{})}
		close(h.tail)
		c.names[m.Name] = h
	}
	if h.life != nil && h.life.id == m.ID {
		h.life.info = m
		return h.life
	}
	if old := h.life; old != nil {
		c.apply(c.view.Ended(time.Now(), old.id, "a new life of it is here"))
		c.drop(old, errAnew)
		h.over = append(h.over, old.id.Boot)
		h.over = h.over[max(0, len(h.over)-16):]
	}
	h.life = newLife(m.ID)
	h.life.info = m
	c.lives[m.ID] = h.life
	c.publish()
	return h.life
}

// drop forgets a life that is over. Called with mu held.
func (c *Channel) drop(l *life, why error) {
	if l.link != nil {
		l.link.fail(why)
	}
	c.view.Forget(l.id)
	delete(c.lives, l.id)
	c.publish()
}

// prune drops what nobody asks for any more: lives without a link whom the
// view has forgotten, too. Called with mu held.
func (c *Channel) prune() {
	for id, l := range c.lives {
		if l.link != nil || c.view.State(id) != 0 {
			continue
		}
		c.drop(l, errGone)
		select {
		case <-c.names[id.Name].tail:
			delete(c.names, id.Name)
		default:
		}
	}
}

func (c *Channel) publish() {
	m := maps.Clone(c.lives)
	c.wakers.Store(&m)
}

// topicsOf lists the topics that the member serves, in a fixed order.
func (c *Channel) topicsOf(m membership.Member) []*Topic {
	var list []*Topic
	for _, name := range slices.Sorted(maps.Keys(c.topics)) {
		if t := c.topics[name]; t.serves == nil || t.serves(m) {
			list = append(list, t)
		}
	}
	return list
}
