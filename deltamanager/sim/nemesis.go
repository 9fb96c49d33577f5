package sim

import (
	"slices"
	"time"
)

// nemesis causes the faults of a history.
type nemesis struct{ *world }

// strike does something bad now and then until the load ends.
func (w nemesis) strike() {
	if w.now >= w.load {
		return
	}
	w.after(w.between(300*time.Millisecond, 1800*time.Millisecond), w.strike)
	m := w.mix
	var strikes []func()
	add := func(on bool, strike func()) {
		if on {
			strikes = append(strikes, strike)
		}
	}
	add(m.Splits, w.split)
	add(m.Partial, w.cutPair)
	add(m.Crashes, w.crash)
	add(m.Pauses, w.pauseSomeone)
	add(m.Slow, w.slowSomeone)
	add(m.Drains, w.drainSomeone)
	if len(strikes) > 0 {
		strikes[w.rnd.IntN(len(strikes))]()
	}
}

// splitTime is how long a split lasts.
func (w nemesis) splitTime() time.Duration {
	d := w.between(200*time.Millisecond, 8*time.Second)
	if w.mix.LongSplits && w.chance(0.3) {
		d += max(min(w.mix.MaxInactive, w.mix.Lifetime)+4*time.Second, min(w.mix.horizon()+time.Second, w.mix.Load-2*time.Second))
	}
	return d
}

// split cuts the cluster in two, both ways or one.
func (w nemesis) split() {
	side := make([]bool, len(w.nodes))
	for i := range side {
		side[i] = w.rnd.IntN(2) == 0
	}
	oneWay := w.mix.OneWay && w.chance(0.5)
	d := w.splitTime()
	w.obs.count(Splits)
	if oneWay {
		w.obs.count(OneWays)
	}
	w.tell("split %v for %v, one way %v", side, d, oneWay)
	for i := range w.nodes {
		for j := range w.nodes {
			if side[i] && !side[j] {
				w.cutFor(i, j, d)
				if !oneWay {
					w.cutFor(j, i, d)
				}
			}
		}
	}
}

// cutPair cuts two nodes from each other; all others still see both.
func (w nemesis) cutPair() {
	i, j := w.rnd.IntN(len(w.nodes)), w.rnd.IntN(len(w.nodes))
	if i == j {
		return
	}
	d := w.splitTime()
	w.obs.count(Splits)
	w.obs.count(Pairs)
	w.tell("cut %s from %s for %v", w.nodes[i].name, w.nodes[j].name, d)
	w.cutFor(i, j, d)
	if w.mix.OneWay && w.chance(0.5) {
		w.obs.count(OneWays)
		return
	}
	w.cutFor(j, i, d)
}

func (w nemesis) cutFor(i, j int, d time.Duration) {
	if w.network.cut[i][j] {
		return
	}
	w.network.setCut(w.world, i, j, true)
	w.after(d, func() {
		if !w.quiet {
			w.tell("heal %s to %s", w.nodes[i].name, w.nodes[j].name)
			w.network.setCut(w.world, i, j, false)
		}
	})
}

// crash kills a node that is not the last one that serves.
func (w nemesis) crash() {
	n := w.victim()
	if n == nil {
		return
	}
	w.obs.count(Crashes)
	w.kill(n.incarnation, "is killed")
	w.after(w.between(50*time.Millisecond, 3*time.Second), func() { w.restart(n) })
}

// victim is a node that others can do without.
func (w nemesis) victim() *node {
	n := w.nodes[w.rnd.IntN(len(w.nodes))]
	if n.incarnation == nil || !n.incarnation.alive || n.draining {
		return nil
	}
	if !w.othersServe(n) {
		return nil
	}
	return n
}

func (w nemesis) othersServe(n *node) bool {
	return slices.ContainsFunc(w.nodes, func(o *node) bool { return o != n && o.serves() && !o.incarnation.paused })
}

// serves tells whether the balancer sends requests to the node.
func (n *node) serves() bool {
	return n.incarnation != nil && n.incarnation.alive && !n.draining && n.incarnation.core.Ready()
}

func (w nemesis) restart(n *node) {
	if n.incarnation == nil || !n.incarnation.alive {
		w.start(n)
	}
}

func (w nemesis) pauseSomeone() {
	n := w.nodes[w.rnd.IntN(len(w.nodes))]
	if n.incarnation == nil || !n.incarnation.alive || n.incarnation.paused || n.incarnation.waking {
		return
	}
	w.obs.count(Pauses)
	d := w.between(100*time.Millisecond, 6*time.Second)
	if w.mix.LongSplits && w.chance(0.2) {
		d += w.mix.MaxInactive
	}
	w.pause(n.incarnation, d)
	// Others hold it for gone, when it has been silent for some time.
	l := n.incarnation
	for _, o := range w.nodes {
		if o == n || o.incarnation == nil || o.incarnation.conns[n.index] == nil {
			continue
		}
		c := o.incarnation.conns[n.index]
		gen := c.gen
		w.after(w.between(2*time.Second, 4*time.Second), func() {
			if c.gen == gen && c.to == l && l.paused {
				w.network.lose(w.world, c)
			}
		})
	}
}

func (w nemesis) slowSomeone() {
	n := w.nodes[w.rnd.IntN(len(w.nodes))]
	if n.slow > 0 {
		return
	}
	w.obs.count(Slows)
	n.slow = w.between(10*time.Millisecond, 800*time.Millisecond)
	w.tell("%s is slow by %v", n.name, n.slow)
	w.after(w.between(500*time.Millisecond, 4*time.Second), func() { n.slow, n.slowAt = 0, w.now })
}

// drainSomeone lets a node leave in good order and start again later, or all of
// them, one after the other.
func (w nemesis) drainSomeone() {
	n := w.victim()
	if n == nil || !n.serves() {
		return
	}
	if !w.rolling && w.chance(0.5) {
		w.rolling = true
		w.tell("a rolling restart begins")
		w.roll(0)
		return
	}
	w.drainNode(n, 3*time.Second, func() {})
}

// roll restarts the nodes from the i-th on.
func (w nemesis) roll(i int) {
	if w.quiet {
		return
	}
	if i == len(w.nodes) {
		w.rolling = false
		w.obs.count(Rolls)
		return
	}
	n := w.nodes[i]
	if !n.serves() || n.incarnation.paused || !w.othersServe(n) {
		w.after(50*time.Millisecond, func() { w.roll(i) })
		return
	}
	w.drainNode(n, 500*time.Millisecond, func() { w.roll(i + 1) })
}

// drainNode lets the node leave when the others have what it has, and start again
// within some time; then it calls restarted.
func (w nemesis) drainNode(n *node, within time.Duration, restarted func()) {
	w.obs.count(Drains)
	n.draining = true
	w.tell("%v drains", n.incarnation.id)
	l, end := n.incarnation, w.now+5*time.Second
	handed := false
	var wait func()
	wait = func() {
		if !l.alive || n.incarnation != l {
			restarted() // it was killed meanwhile
			return
		}
		if w.quiet {
			n.draining = false
			return
		}
		if l.paused || !handed || w.now < end && !l.core.Flushed() {
			w.after(10*time.Millisecond, wait)
			return
		}
		w.leave(l)
		w.after(w.between(50*time.Millisecond, within), func() {
			w.restart(n)
			restarted()
		})
	}
	w.after(w.between(100*time.Millisecond, time.Second), func() { // requests in flight end first
		w.call(l, func() {
			w.obs.handsOver(l)
			l.core.HandOver(l.now())
			handed = true
		})
		wait()
	})
}

// leave ends an incarnation that has drained. What it has flushed is at the members
// it was connected to.
func (w nemesis) leave(l *incarnation) {
	if l.core.Flushed() {
		w.obs.flushed(l)
	}
	w.kill(l, "leaves")
}

// calmDown ends all faults.
func (w nemesis) calmDown() {
	w.quiet = true
	w.tell("faults end")
	for i := range w.nodes {
		for j := range w.nodes {
			w.network.setCut(w.world, i, j, false)
		}
	}
	for _, n := range w.nodes {
		n.slow = 0
		if n.incarnation != nil && n.incarnation.alive {
			w.resume(n.incarnation)
		}
		w.restart(n)
	}
}
