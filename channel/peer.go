package channel

import (
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// peer is one incarnation of another member. Everything about a member is kept by its ID, so that
// two incarnations are never mixed up. Guarded by Channel.mu, except for atomics and channels.
type peer struct {
	id        membership.ID
	info      membership.Member // as announced last
	link      *link             // nil: none
	connected bool              // a link was up, and the peer is not gone since
	ready     bool              // by its latest heartbeat
	draining  bool

	received atomic.Int64     // unix ns of the latest message
	pairs    map[string]*pair // by topic; belongs to the lock of the link's pairing, or to whoever has the turn
	wakes    [2]bell2         // by Class
	announce bell             // a heartbeat is wanted at once
}

func newPeer(m membership.Member) *peer {
	p := &peer{id: m.ID, info: m, pairs: map[string]*pair{}, announce: make(bell, 1)}
	for i := range p.wakes {
		p.wakes[i] = bell2{soon: make(bell, 1), now: make(bell, 1)}
	}
	return p
}

// hear notes that a message came from the peer.
func (p *peer) hear() { p.received.Store(time.Now().UnixNano()) }

// maxOver is how many superseded incarnations of a name are remembered.
const maxOver = 16

// holder is who has a member's name.
type holder struct {
	peer *peer
	over []uint64      // the latest incarnations that were superseded
	tail chan struct{} // closed when all handler calls about the name that were ordered so far are done
}

func newHolder() *holder {
	h := &holder{tail: make(chan struct{})}
	close(h.tail)
	return h
}

// turn takes the next place in the order of handler calls about the name: they may begin when
// before is closed, and done is to be closed after them.
func (h *holder) turn() (before <-chan struct{}, done chan struct{}) {
	before, done = h.tail, make(chan struct{})
	h.tail = done
	return before, done
}

// bell is a wake-up call that is neither lost nor counted.
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
