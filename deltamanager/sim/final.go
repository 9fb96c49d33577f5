package sim

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
)

// judge looks at what is left when a history has ended.
type judge struct{ *world }

// settle waits for convergence after faults have ended: within two rounds of
// repair, and the time a node takes to start. Then it lets what is under way arrive.
func (w judge) settle() {
	limit := w.now + w.rounds()
	for {
		w.runTo(w.now + 250*time.Millisecond)
		if w.converged() && w.connected() {
			w.runTo(w.now + 3*time.Second) // uses are announced again, and what was lost is sent again
			return
		}
		if w.now > limit {
			w.notConverged()
			return
		}
	}
}

// rounds is how long two rounds of repair take at most, and a start.
func (w judge) rounds() time.Duration { return 2*w.mix.round() + 6*time.Second }

// converged tells whether all nodes are ready and hold the same, but for
// sessions that are expiring: members do so some time after each other.
func (w judge) converged() bool {
	same := true
	for _, n := range w.nodes {
		if !n.incarnation.alive || n.incarnation.waking || !n.incarnation.core.Ready() {
			return false
		}
		same = same && n.incarnation.core.Digest() == w.nodes[0].incarnation.core.Digest()
	}
	return same || w.differing() == deltamanager.Key{}
}

func (w judge) connected() bool {
	for _, n := range w.nodes {
		for _, o := range w.nodes {
			if c := n.incarnation.conns[o.index]; o != n && (c == nil || !c.up || c.to != o.incarnation) {
				return false
			}
		}
	}
	return true
}

func (w judge) notConverged() {
	var text strings.Builder
	for _, n := range w.nodes {
		s := n.incarnation.core.Stats()
		fmt.Fprintf(
			&text, " %v ready=%v sessions=%d tombstones=%d digest=%x;", n.incarnation.id, s.Ready,
			s.Sessions, s.Tombstones, n.incarnation.core.Digest(),
		)
	}
	for _, n := range w.nodes {
		if !n.incarnation.core.Ready() {
			w.obs.broken("I10", nil, "not ready in time:%s", text.String())
			return
		}
	}
	if !w.connected() {
		for _, n := range w.nodes {
			for _, c := range n.incarnation.conns {
				if c != nil && (!c.up || c.to != w.nodes[c.to.node.index].incarnation) {
					fmt.Fprintf(&text, " %v not connected to %v;", n.incarnation.id, c.to.id)
				}
			}
		}
	}
	key := w.differing()
	w.obs.broken("I1", &key, "not converged in time:%s", text.String())
}

// differing is a session that not all nodes hold alike.
func (w judge) differing() deltamanager.Key {
	first := w.dump(w.nodes[0].incarnation)
	for _, n := range w.nodes[1:] {
		d := w.dump(n.incarnation)
		for _, k := range keys(first, d) {
			if !same(first[k], d[k]) && !w.expiring(k) && !w.unused(w.nodes[0].incarnation, first[k]) && !w.unused(n.incarnation, d[k]) {
				return k
			}
		}
		for _, k := range slices.SortedFunc(maps.Keys(w.obs.ended), compareKeys) {
			if w.nodes[0].incarnation.core.Dead(k) != n.incarnation.core.Dead(k) && !w.expiring(k) {
				return k
			}
		}
	}
	return deltamanager.Key{}
}

func (w judge) dump(l *incarnation) map[deltamanager.Key]*deltamanager.Dump {
	m := map[deltamanager.Key]*deltamanager.Dump{}
	all := l.core.Dump(l.now())
	for i := range all {
		m[all[i].Key] = &all[i]
	}
	return m
}

func keys(a, b map[deltamanager.Key]*deltamanager.Dump) []deltamanager.Key {
	var out []deltamanager.Key
	for k := range a {
		out = append(out, k)
	}
	for k := range b {
		if a[k] == nil {
			out = append(out, k)
		}
	}
	sortKeys(out)
	return out
}

func same(a, b *deltamanager.Dump) bool {
	if a == nil || b == nil || a.Partial != b.Partial || a.Returned != b.Returned || len(a.Registers) != len(b.Registers) {
		return a == b
	}
	for i, r := range a.Registers {
		if o := b.Registers[i]; r.Name != o.Name || r.Stamp != o.Stamp || !bytes.Equal(r.Value, o.Value) {
			return false
		}
	}
	return true
}

// check holds the final states against what was promised.
func (w judge) check() {
	var doubtful []deltamanager.Key
	if len(w.obs.violations) == 0 {
		doubtful = w.checkSame()
	}
	state := w.dump(w.nodes[0].incarnation)
	for _, n := range w.nodes {
		w.checkIncarnation(n.incarnation)
	}
	var all []deltamanager.Key
	for k := range w.obs.uses {
		all = append(all, k)
	}
	sortKeys(all)
	for _, k := range all {
		w.checkSession(k, state[k])
	}
	w.checkCalm()
	w.checkAcked()
	w.checkDoubtful(doubtful)
}

// checkSame compares values, not digests. It returns the sessions that differ
// because they are about to expire.
func (w judge) checkSame() (doubtful []deltamanager.Key) {
	first := w.dump(w.nodes[0].incarnation)
	for _, n := range w.nodes[1:] {
		d := w.dump(n.incarnation)
		for _, k := range keys(first, d) {
			switch {
			case same(first[k], d[k]):
			case w.expiring(k) || w.unused(w.nodes[0].incarnation, first[k]) || w.unused(n.incarnation, d[k]):
				doubtful = append(doubtful, k)
			default:
				w.obs.broken(
					"I1", &k, "sessions differ: %v has %s, %v has %s", w.nodes[0].incarnation.id,
					w.describe(w.nodes[0].incarnation, first[k]), n.incarnation.id,
					w.describe(n.incarnation, d[k]),
				)
			}
		}
	}
	sortKeys(doubtful)
	return slices.Compact(doubtful)
}

// checkDoubtful waits until sessions that differed while they expired are the
// same, or gone, everywhere.
func (w judge) checkDoubtful(doubtful []deltamanager.Key) {
	limit := w.now + w.rounds() + w.mix.granule()
	for len(doubtful) > 0 && w.now < limit {
		w.runTo(w.now + 500*time.Millisecond)
		first := w.dump(w.nodes[0].incarnation)
		differs := map[deltamanager.Key]bool{}
		for _, n := range w.nodes[1:] {
			d := w.dump(n.incarnation)
			for _, k := range doubtful {
				differs[k] = differs[k] || !same(first[k], d[k])
			}
		}
		doubtful = slices.DeleteFunc(doubtful, func(k deltamanager.Key) bool {
			if !differs[k] {
				w.obs.count(ExpiringChecked)
			}
			return !differs[k]
		})
	}
	for _, k := range doubtful {
		w.obs.broken("I1", &k, "a session that expires differs for longer than two rounds of repair")
	}
}

// checkAcked checks that nothing waits to be acknowledged for ever.
func (w judge) checkAcked() {
	if w.unacked() == "" {
		return
	}
	w.runTo(w.now + 6*time.Second) // sent again, and again
	if late := w.unacked(); late != "" {
		w.obs.broken("I10", nil, "changes wait for ever to be acknowledged: %s", late)
	}
}

func (w judge) unacked() string {
	for _, n := range w.nodes {
		for _, s := range n.incarnation.core.Stats().Links {
			if s.Behind > 3*time.Second {
				return fmt.Sprintf("%v waits for %v to acknowledge %d changes for %v", n.incarnation.id, s.ID, s.Queue, s.Behind)
			}
		}
	}
	return ""
}

func (w judge) describe(l *incarnation, d *deltamanager.Dump) string {
	if d == nil {
		return "none"
	}
	return fmt.Sprintf(
		"%d registers (partial %v, returned %v, used %v ago, created %v ago)", len(d.Registers),
		d.Partial, d.Returned, l.now()-d.Last, l.now()-d.Created,
	)
}

// unused tells whether a node is about to expire a session: it may know less of
// its uses than others who are gone.
func (w judge) unused(l *incarnation, d *deltamanager.Dump) bool {
	if d == nil {
		return false
	}
	limit := w.mix.MaxInactive
	if !d.Returned {
		limit = w.mix.firstInactive()
	}
	return l.now()-d.Last > limit-expiryDoubt
}

// expiryDoubt is by how much members may disagree on when a session expires,
// beside a granule: slow members take it for used later than it was.
const expiryDoubt = 3 * time.Second

// expiring tells whether a session is about to expire here or there: by what
// those know first hand who live.
func (w judge) expiring(k deltamanager.Key) bool {
	u := w.obs.uses[k]
	if u == nil {
		return true
	}
	used := u.created
	for l, at := range u.by {
		if l.alive {
			used = max(used, at)
		}
	}
	limit := max(w.obs.limit(k, func(l *incarnation, _ time.Duration) bool { return l.alive }), w.mix.firstInactive())
	return w.now-used > limit-expiryDoubt || w.now-u.created > w.mix.Lifetime-expiryDoubt
}

// checkIncarnation checks what must hold at every node: nothing outlives its time, nothing
// comes back, nothing grows.
func (w judge) checkIncarnation(l *incarnation) {
	for _, d := range l.core.Dump(l.now()) {
		u := w.obs.uses[d.Key]
		if e := w.obs.ended[d.Key]; e != nil && !e.extinct {
			w.obs.broken("I2", &d.Key, "%v holds a session that was invalidated at %.4fs by %v", l.id, e.at.Seconds(), e.by.id)
		}
		if u == nil {
			w.obs.broken("I9", &d.Key, "%v holds a session that nobody made", l.id)
			continue
		}
		last := l.born + d.Last - time.Millisecond
		if last > u.latest+w.overstay() {
			w.obs.broken("I7", &d.Key, "%v takes a session for used %v later than it was", l.id, last-u.latest)
		}
		if created := l.born + d.Created - time.Millisecond; created > u.created+w.overstay() && !d.Partial {
			w.obs.broken("I7", &d.Key, "%v takes a session for %v younger than it is", l.id, created-u.created)
		}
		for by, at := range u.by {
			if by.alive && last < at-w.mix.granule()-time.Second && !d.Partial {
				w.obs.broken("I7", &d.Key, "%v takes a session for unused for %v longer than it was: %v knows better", l.id, at-last, by.id)
			}
		}
	}
	links := l.core.Stats().Links
	if len(links) > len(w.nodes)-1 {
		w.obs.broken("I5", nil, "%v has %d links, %d others live", l.id, len(links), len(w.nodes)-1)
	}
	for _, s := range links {
		if s.Held > heldMax {
			w.obs.broken("I5", nil, "%v holds %d entries for %v", l.id, s.Held, s.ID)
		}
	}
}

// overstay is by how much a session may seem younger than it is: how long a
// message took is only known beside that of the fastest so far, so it is what the
// slowest first one took, for each time that it was passed on: from a node to its
// neighbour, from that to the node after its restart, and once more.
func (w *world) overstay() time.Duration { return time.Second + 3*w.obs.unsure }

// heldMax bounds what a link remembers in these histories: frames, keys,
// questions. A few hundred sessions exist, so more is a leak.
const heldMax = 3000

// checkSession checks that no write is lost that somebody alive holds. It may be
// all that is left of its session, when those who had the rest have died.
func (w judge) checkSession(k deltamanager.Key, d *deltamanager.Dump) {
	if w.obs.ended[k] != nil {
		return
	}
	u := w.obs.uses[k]
	if w.now-u.created >= w.mix.Lifetime-time.Second {
		return // over; parts of it may have come late, and are shown to nobody
	}
	for _, wr := range w.obs.writes[k] {
		holder := wr.holder()
		if holder == nil {
			continue
		}
		if d == nil {
			if w.now-wr.at < w.obs.stays(wr)-time.Second {
				w.obs.broken("I3", &k, "the session is lost, though %v lives and holds a write of it made %v ago", holder.id, w.now-wr.at)
				return
			}
			continue
		}
		if d.Partial && w.served(k) {
			w.obs.broken("I3", &k, "only a part of the session is left, though somebody lives who has served it")
			return
		}
		if w.now-wr.at > w.obs.stays(wr)-time.Second {
			continue // a holder may have taken the session for unused
		}
		for _, name := range wr.names {
			if r := register(d, name); r == nil || r.Stamp.Less(wr.stamp) {
				w.obs.broken(wr.invariant(), &k, "write of %q by %v is lost, though %v lives and holds it", name, wr.by.id, holder.id)
				return
			}
		}
	}
}

// served tells whether somebody lives who has served the session, and so had all
// of it, lately enough not to have expired it.
func (w judge) served(k deltamanager.Key) bool {
	for l, at := range w.obs.uses[k].by {
		if l.alive && w.now-at < w.obs.limit(k, func(o *incarnation, _ time.Duration) bool { return o == l })-time.Second {
			return true
		}
	}
	return false
}

// holder is an incarnation that holds the write and lives to the end.
func (wr *written) holder() *incarnation {
	if wr.by.alive {
		return wr.by
	}
	for _, l := range wr.holders {
		if l.alive {
			return l
		}
	}
	return nil
}

func (wr *written) invariant() string {
	if wr.by.alive {
		return "I3"
	}
	return "I8"
}

func register(d *deltamanager.Dump, name string) *deltamanager.DumpRegister {
	for i := range d.Registers {
		if d.Registers[i].Name == name {
			return &d.Registers[i]
		}
	}
	return nil
}

// fewRepaired sessions may be brought by other than a stream in a calm history:
// those that a write at another node has overtaken are asked for.
const fewRepaired = 3

// checkCalm checks that without faults nothing was cured that must not be ill.
func (w judge) checkCalm() {
	for _, l := range w.obs.incarnations {
		s := l.core.Stats()
		w.obs.counts.Of[Asks] += s.Asks
		w.obs.counts.Of[Evictions] += s.Evicted
		w.obs.counts.Of[Overflows] += s.Overflows
		w.obs.counts.Of[Repairs] += s.Repairs
		w.obs.counts.Of[Resends] += s.Resends
		if !w.mix.calm() {
			continue
		}
		few := int64(fewRepaired)
		if w.mix.Repair == never {
			w.obs.count(StreamsChecked)
			few = s.Repaired // nothing is compared, so all were asked for
		}
		if s.Repaired > few || s.Resends > 0 || s.Overflows > 0 || s.Stale > 0 {
			w.obs.broken("I13", nil, "%v repaired %d sessions, sent %d times again, in a calm history", l.id, s.Repaired, s.Resends)
		}
	}
}
