package sim

import (
	"bytes"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// network joins incarnations by connections, one per ordered pair, as package channel
// does: a connection carries two ordered classes of payloads, is broken some
// time after it was cut, loses then what was on its way, and is dialled again.
type network struct {
	cut   [][]bool          // payloads from i to j are held (or lost, in hostile mixes)
	since [][]time.Duration // when they began to be
	cutAt time.Duration
}

// conn is an incarnation's outgoing connection to one incarnation of another node.
type conn struct {
	from, to *incarnation
	up       bool
	known    bool // the core knows the member: Connected, and not Gone since
	upAt     time.Duration
	gen      int // counts breaks; what was sent before is lost
	lanes    [2]lane
	stalled  []func() // held by a cut
}

// lane is one class of a connection.
type lane struct {
	flying  int // payloads sent and not yet taken by the receiver
	arrival time.Duration
	planned bool // a pull is planned
	pullAt  time.Duration
	pullSeq int
}

const (
	gather  = time.Millisecond
	laneMax = 16 // payloads of a class on their way at most: then the stream is full
)

func (n *network) init(nodes int) {
	n.cut, n.since = make([][]bool, nodes), make([][]time.Duration, nodes)
	for i := range n.cut {
		n.cut[i], n.since[i] = make([]bool, nodes), make([]time.Duration, nodes)
	}
}

// joined makes the new incarnation and all others dial each other.
func (n *network) joined(w *world, l *incarnation) {
	for _, o := range w.nodes {
		if o == l.node || o.incarnation == nil {
			continue
		}
		other := o.incarnation
		w.after(w.between(5*time.Millisecond, 300*time.Millisecond), func() { n.dial(w, l, other) })
		w.after(w.between(5*time.Millisecond, 300*time.Millisecond), func() { n.dial(w, other, l) })
	}
}

// reachable tells whether a connection between the nodes can be made: TCP needs both ways.
func (n *network) reachable(a, b *incarnation) bool {
	return !n.cut[a.node.index][b.node.index] && !n.cut[b.node.index][a.node.index]
}

// dial connects from to to, as soon as that is possible and while both are their nodes' latest
// incarnations.
func (n *network) dial(w *world, from, to *incarnation) {
	if !from.alive || from.node.incarnation != from || to.node.incarnation != to || !to.alive {
		return
	}
	c := from.conns[to.node.index]
	if c != nil && c.to == to && c.up {
		return
	}
	if from.paused || from.waking || to.paused || !n.reachable(from, to) {
		w.after(w.between(50*time.Millisecond, 400*time.Millisecond), func() { n.dial(w, from, to) })
		return
	}
	if c != nil && c.to != to {
		n.gone(w, c)
		c = nil
	}
	if c == nil {
		c = &conn{from: from, to: to}
		from.conns[to.node.index] = c
	}
	c.up, c.known, c.stalled, c.upAt = true, true, nil, w.now
	c.gen++
	c.lanes = [2]lane{}
	w.call(from, func() { from.core.Connected(from.now(), to.id) })
}

// gone tells that an incarnation has ended for good, once.
func (n *network) gone(w *world, c *conn) {
	if c.up {
		c.up = false
		c.gen++
	}
	if c.known {
		c.known = false
		w.tell("%v holds %v for gone", c.from.id, c.to.id)
		w.obs.forget(c.to, c.from)
		w.call(c.from, func() { c.from.core.Gone(c.from.now(), c.to.id) })
	}
}

// lose breaks a connection: what was on its way is lost, its sender notices
// now, and dials again.
func (n *network) lose(w *world, c *conn) {
	if !c.up {
		return
	}
	c.up, c.stalled = false, nil
	c.gen++
	w.tell("%v loses its connection to %v", c.from.id, c.to.id)
	w.call(c.from, func() { c.from.core.Disconnected(c.from.now(), c.to.id) })
	w.after(w.between(10*time.Millisecond, 200*time.Millisecond), func() { n.dial(w, c.from, c.to) })
	gen := c.gen
	w.after(w.between(2*time.Second, 5*time.Second), func() {
		if c.gen == gen && !c.up {
			n.gone(w, c)
		}
	})
}

// died breaks what a dead incarnation was connected to: mostly at once, sometimes
// only when it has been silent for some time.
func (n *network) died(w *world, l *incarnation) {
	for _, o := range w.nodes {
		if o == l.node || o.incarnation == nil || !o.incarnation.alive {
			continue
		}
		c := o.incarnation.conns[l.node.index]
		if c == nil || c.to != l {
			// Never connected; but the member was known, and may have been heard.
			w.after(w.between(0, 3*time.Second), func() {
				to := o.incarnation
				w.call(to, func() { to.core.Gone(to.now(), l.id) })
			})
			continue
		}
		c.gen++ // payloads on their way are lost
		gen := c.gen
		d := w.between(time.Millisecond, 30*time.Millisecond)
		if w.chance(0.1) {
			d = w.between(time.Second, 3*time.Second)
		}
		w.after(d, func() {
			if c.gen == gen && c.up {
				c.up = false
				w.call(c.from, func() { c.from.core.Disconnected(c.from.now(), l.id) })
			}
		})
		w.after(d+w.between(0, 500*time.Millisecond), func() { n.gone(w, c) })
	}
}

// setCut cuts or heals one way between two nodes. A cut that lasts longer than
// the failure detector waits breaks the connections both ways.
func (n *network) setCut(w *world, i, j int, on bool) {
	if n.cut[i][j] == on {
		return
	}
	n.cut[i][j], n.cutAt = on, w.now
	if !on {
		if w.now-n.since[i][j] > w.mix.horizon() {
			w.obs.count(Horizons)
		}
		n.release(w, i, j)
		return
	}
	n.since[i][j] = w.now
	for _, pair := range [...][2]int{{i, j}, {j, i}} {
		l := w.nodes[pair[0]].incarnation
		if l == nil || l.conns[pair[1]] == nil {
			continue
		}
		c := l.conns[pair[1]]
		gen := c.gen
		w.after(w.between(time.Second, 3*time.Second), func() {
			if c.gen == gen && !n.reachable(c.from, c.to) {
				n.lose(w, c)
			}
		})
	}
}

// release delivers what a cut held back, if the connection has outlived it.
func (n *network) release(w *world, i, j int) {
	l := w.nodes[i].incarnation
	if l == nil || l.conns[j] == nil {
		return
	}
	c := l.conns[j]
	stalled := c.stalled
	c.stalled = nil
	for _, deliver := range stalled {
		deliver()
	}
}

// wake plans a pull for a class of a connection.
func (n *network) wake(from *incarnation, to membership.ID, bulk, urgent bool) {
	w := from.w
	for _, c := range from.conns {
		if c == nil || c.to.id != to || !c.up {
			continue
		}
		d := gather
		if urgent || bulk {
			d = 0
		}
		n.plan(w, c, bulk, d)
	}
}

func (n *network) plan(w *world, c *conn, bulk bool, d time.Duration) {
	l := c.lane(bulk)
	if l.planned && l.pullAt <= w.now+d {
		return
	}
	l.planned, l.pullAt = true, w.now+d
	l.pullSeq++
	seq, gen := l.pullSeq, c.gen
	w.after(d, func() {
		w.call(c.from, func() {
			if c.gen == gen && l.pullSeq == seq {
				l.planned = false
				n.pull(w, c, bulk)
			}
		})
	})
}

func (c *conn) lane(bulk bool) *lane {
	if bulk {
		return &c.lanes[1]
	}
	return &c.lanes[0]
}

// pull takes payloads from the core while the class has room.
func (n *network) pull(w *world, c *conn, bulk bool) {
	l := c.lane(bulk)
	for c.up && l.flying < laneMax {
		p := c.from.core.Pull(c.from.now(), c.to.id, bulk)
		if p == nil {
			return
		}
		n.send(w, c, bulk, p)
	}
}

func (n *network) send(w *world, c *conn, bulk bool, p []byte) {
	w.fold(uint64(w.now), c.from.id.Incarnation, c.to.id.Incarnation)
	w.foldBytes(p)
	w.obs.count(Payloads)
	if w.story != nil && bytes.Contains(p, w.focus[:]) {
		w.tell("%v sends it to %v (%s, %d bytes)", c.from.id, c.to.id, [...]string{"live", "bulk"}[btoi(bulk)], len(p))
	}
	copies := 1
	if !w.quiet && w.chance(w.mix.Loss) {
		w.obs.count(Lost)
		return
	}
	if !w.quiet && w.chance(w.mix.Double) {
		w.obs.count(Doubled)
		copies = 2
	}
	for range copies {
		n.fly(w, c, bulk, p)
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// fly lets a payload arrive: in order, but in hostile mixes.
func (n *network) fly(w *world, c *conn, bulk bool, p []byte) {
	l := c.lane(bulk)
	l.flying++
	d := w.between(w.mix.Delay/10, w.mix.Delay) + c.to.node.slow + time.Duration(len(p))*20 // 50 MB/s
	if w.mix.Hostile && !w.quiet {
		if w.chance(w.mix.Spike) {
			w.obs.count(Spikes)
			d += w.between(0, 2*time.Second)
		}
	} else {
		d = max(d, l.arrival-w.now)
		l.arrival = w.now + d
	}
	gen, sent := c.gen, w.now
	w.after(d, func() { n.arrive(w, c, gen, bulk, sent, p) })
}

func (n *network) arrive(w *world, c *conn, gen int, bulk bool, sent time.Duration, p []byte) {
	if c.gen != gen {
		if !w.mix.Hostile || w.quiet || !c.to.alive {
			return // lost with its connection
		}
		w.obs.count(LateLives) // a hostile network still delivers it
	}
	if n.cut[c.from.node.index][c.to.node.index] {
		if !w.mix.Hostile {
			c.stalled = append(c.stalled, func() { n.arrive(w, c, gen, bulk, sent, p) })
			return
		}
		if c.gen == gen {
			c.lane(bulk).flying--
		}
		return
	}
	w.call(c.to, func() {
		if w.story != nil && bytes.Contains(p, w.focus[:]) {
			w.tell("%v receives it from %v (%s)", c.to.id, c.from.id, [...]string{"live", "bulk"}[btoi(bulk)])
		}
		w.obs.arrived(c, w.now-sent)
		if err := c.to.core.Receive(c.to.now(), c.from.id, bulk, p); err != nil {
			w.obs.broken("I0", nil, "%v refuses a payload of %v: %v", c.to.id, c.from.id, err)
		}
		if c.gen == gen {
			c.lane(bulk).flying--
			n.plan(w, c, bulk, 0)
		}
	})
}

// forget is called when one incarnation holds another for gone: it heeds nothing of it
// until they meet again.
func (o *observer) forget(from, at *incarnation) {
	delete(o.heard, [2]uint64{from.id.Incarnation, at.id.Incarnation})
}

// arrived notes how long the first payload of one incarnation to another took: the
// fastest that is known is what later ones are measured by.
func (o *observer) arrived(c *conn, took time.Duration) {
	pair := [2]uint64{c.from.id.Incarnation, c.to.id.Incarnation}
	if o.heard == nil {
		o.heard = map[[2]uint64]bool{}
	}
	if !o.heard[pair] {
		o.heard[pair] = true
		o.unsure = max(o.unsure, took)
	}
}
