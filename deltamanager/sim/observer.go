package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
)

// Violation is a broken promise.
type Violation struct {
	Invariant string // I1 to I14, as docs/RELIABILITY.md names them; I0: what must never happen at all
	Session   deltamanager.Key
	Text      string
}

// observer notes what clients were answered and what nodes accepted, and holds
// the promises against it.
type observer struct {
	w            *world
	violations   []Violation
	incarnations []*incarnation

	names  map[deltamanager.CookieHash]login // what each cookie hash was given out for
	writes map[deltamanager.Key][]*written
	kept   map[deltamanager.Key]bool // sessions that began with a user who had logged in
	ended  map[deltamanager.Key]*ended
	uses   map[deltamanager.Key]*use
	heard  map[[2]uint64]bool // sender and receiver, by incarnation
	unsure time.Duration      // the slowest first payload of one incarnation to another

	counts Counts
}

type login struct {
	key  deltamanager.Key
	user string
}

// written is a commit that a node accepted, and who is known to hold it.
type written struct {
	key     deltamanager.Key
	names   []string
	stamp   deltamanager.Stamp
	at      time.Duration
	by      *incarnation
	holders []*incarnation
	brief   bool           // by the request that made the session, of a user who may never come back
	handed  []*incarnation // holders that have since begun to leave, and hand it over
}

// ended is an invalidation that a node accepted.
type ended struct {
	at      time.Duration
	by      *incarnation
	horizon time.Duration // after this the session would be over anyway
	extinct bool          // every incarnation that knew of it has ended
}

// use is when a session was used.
type use struct {
	created time.Duration
	latest  time.Duration // at any node
	by      map[*incarnation]time.Duration
	opened  bool                           // by its cookie, whoever knows of it
	back    map[*incarnation]time.Duration // where it was opened by its cookie first, and a request that did so was accepted
}

// broken notes a violation. key is the session concerned, nil: none.
func (o *observer) broken(invariant string, key *deltamanager.Key, format string, args ...any) {
	v := Violation{Invariant: invariant, Text: fmt.Sprintf("at %.4fs: ", o.w.now.Seconds()) + fmt.Sprintf(format, args...)}
	if key != nil {
		v.Session = *key
	}
	o.violations = append(o.violations, v)
	if o.w.tell("VIOLATION %s %s", invariant, v.Text); o.w.story != nil {
		o.w.story.ended = v.Session == o.w.focus
	}
}

// named notes which session and user a cookie hash belongs to.
func (o *observer) named(cookie deltamanager.CookieHash, key deltamanager.Key, user string) {
	if o.names == nil {
		o.names = map[deltamanager.CookieHash]login{}
	}
	o.names[cookie] = login{key, user}
}

// touched notes that a node has seen a session used, and whether it has announced
// the client so: if not, it may forget it.
func (o *observer) touched(v *visit, told bool) {
	if o.uses == nil {
		o.uses = map[deltamanager.Key]*use{}
	}
	k := v.ref.Key()
	u := o.uses[k]
	if u == nil {
		u = &use{created: o.w.now, by: map[*incarnation]time.Duration{}, back: map[*incarnation]time.Duration{}}
		o.uses[k] = u
	}
	if u.latest = o.w.now; told {
		u.by[v.l] = o.w.now
	}
}

// opened checks what a node found for a cookie hash.
func (o *observer) opened(v *visit, cookie deltamanager.CookieHash) {
	o.count(Requests)
	o.touched(v, false)
	k := v.ref.Key()
	o.w.tellOf(k, "client %d opens it at %v, stale %v", v.c.id, v.l.id, v.stale)
	given, ok := o.names[cookie]
	switch {
	case !ok:
		o.broken("I9", &k, "%v adopted an id that was never given out", v.l.id)
	case given.key != k:
		o.broken("I9", &k, "%v shows session %v to the user of %v", v.l.id, k, given.key)
	case given.user != v.info.Auth.Principal:
		o.broken("I11", &k, "%v shows user %q under the id of %q", v.l.id, v.info.Auth.Principal, given.user)
	}
	u := o.uses[k]
	if first := o.w.mix.firstInactive(); !u.opened && !o.kept[k] && o.w.now-u.created > first+granule(first)+o.w.overstay() {
		o.broken("I7", &k, "%v shows a session %v old that nobody had come back to, limit %v", v.l.id, o.w.now-u.created, first)
	}
	u.opened = true
	if o.w.now-u.created > o.w.mix.Lifetime+o.w.overstay() {
		o.broken("I7", &k, "%v shows a session %v old, lifetime %v", v.l.id, o.w.now-u.created, o.w.mix.Lifetime)
	}
	longest := o.w.mix.MaxInactive + o.w.mix.granule() + o.w.overstay()
	if v.c.key == k && v.c.used > 0 && o.w.now-v.c.used > longest && o.w.now-o.latest(k) > longest {
		o.broken("I7", &k, "%v shows a session unused for %v", v.l.id, o.w.now-v.c.used)
	}
}

func (o *observer) latest(k deltamanager.Key) time.Duration { return o.uses[k].latest }

// counted checks read-your-writes and monotonic reads: what a node shows
// without calling it stale is not older than what the client was told.
func (o *observer) counted(v *visit, name string, n int64) {
	o.w.tellOf(v.ref.Key(), "client %d reads %s=%d at %v, was told %d, stale %v", v.c.id, name, n, v.l.id, v.c.count, v.stale)
	if v.stale || n >= v.c.count || name != v.c.counter || o.w.now-v.c.counted > tokenLife-2*time.Second {
		return
	}
	k := v.ref.Key()
	if o.old(k) {
		return // it ended here, and a member that takes it for a little younger brought its own copy back
	}
	o.broken("I6", &k, "client %d was told %s=%d and reads %d at %v", v.c.id, name, v.c.count, n, v.l.id)
}

// committed notes what a node accepted.
func (o *observer) committed(v *visit, tx deltamanager.Tx, r deltamanager.Receipt, create, moved bool) *written {
	o.count(Commits)
	if v.l.longPauses > v.pauses {
		o.broken("I10", nil, "%v commits for a request that began before a pause", v.l.id)
	}
	o.touched(v, true)
	k := v.ref.Key()
	if create {
		o.count(Created)
	} else {
		if u := o.uses[k]; u.back[v.l] == 0 {
			u.back[v.l] = o.w.now
		}
	}
	if tx.Invalidate {
		o.count(Logouts)
		o.ended[k] = &ended{at: o.w.now, by: v.l, horizon: o.uses[k].created + o.w.mix.Lifetime}
		return nil
	}
	if r.Stamp == (deltamanager.Stamp{}) {
		return nil
	}
	wr := &written{key: k, stamp: r.Stamp, at: o.w.now, by: v.l, brief: create && !o.kept[k]}
	if create || moved {
		wr.names = append(append(wr.names, ""), v.ref.Names()...)
	}
	if tx.MaxInactive != nil {
		wr.names = append(wr.names, "\x00inactive")
	}
	for _, x := range tx.Writes {
		wr.names = append(wr.names, x.Name)
	}
	o.writes[k] = append(o.writes[k], wr)
	return wr
}

// moved notes that a node has given a session another identity.
func (o *observer) moved(v *visit, old deltamanager.Key, to deltamanager.Identity, ref deltamanager.Ref) {
	o.named(to.CookieHash, to.Key, to.Principal)
	before := o.uses[old]
	o.ended[old] = &ended{at: o.w.now, by: v.l, horizon: before.created + o.w.mix.Lifetime}
	o.uses[to.Key] = &use{
		created: before.created, latest: o.w.now, opened: true,
		by: map[*incarnation]time.Duration{}, back: map[*incarnation]time.Duration{},
	}
	o.kept[to.Key] = true
	if _, err := v.ref.Get(""); err == nil {
		o.broken("I14", &old, "%v reads on in a session that it has just given another id", v.l.id)
	}
	if ref.Key() != to.Key {
		o.broken("I14", &old, "%v gives out key %v, not %v", v.l.id, ref.Key(), to.Key)
	}
}

// attacked checks what a node shows to somebody who has an id that was given up: the
// session of before, and that only while the node has heard neither of the session that
// goes on nor of the end. What was written under the new id has another key.
func (o *observer) attacked(v *visit, d deadCookie) {
	switch {
	case v.ref.Key() != d.key:
		o.broken("I14", &d.key, "%v shows session %v to somebody who has the id of before", v.l.id, v.ref.Key())
	case o.ended[d.key] != nil && v.l == o.ended[d.key].by:
		o.broken("I2", &d.key, "%v shows a session under an id that was given up there", v.l.id)
	case v.l.core.Dead(d.key):
		o.broken("I14", &d.key, "%v shows a session that it knows to be over", v.l.id)
	case d.next != (deltamanager.Key{}) && v.l.core.StampOf(d.next, "") != (deltamanager.Stamp{}):
		o.broken("I14", &d.key, "%v shows a session although it has the one that goes on in its place", v.l.id)
	}
}

// confirmed notes who is known to have applied a commit.
func (o *observer) confirmed(wr *written, wt *deltamanager.Waiter) {
	if wr == nil {
		return
	}
	for _, id := range wt.Members() {
		for _, l := range o.incarnations {
			if l.id == id {
				wr.holders = append(wr.holders, l)
				o.count(AcksChecked)
				o.holds(l, wr)
				o.w.after(time.Second, func() { o.whole(l, wr) })
			}
		}
	}
}

// whole checks that a member that has applied a write of a session has all of it
// a second later, if the writer has and could tell it.
func (o *observer) whole(l *incarnation, wr *written) {
	if o.w.mix.Hostile || !o.goodFor(l, wr.by, time.Second) ||
		o.w.now-l.conns[wr.by.node.index].upAt < time.Second || o.w.now-wr.by.conns[l.node.index].upAt < time.Second ||
		o.ended[wr.key] != nil || o.old(wr.key) || o.w.now-wr.at > o.stays(wr)-2*time.Second {
		return
	}
	o.count(WholeChecked)
	none := deltamanager.Stamp{}
	if l.core.StampOf(wr.key, "") == none && wr.by.core.StampOf(wr.key, "") != none && !l.core.Dead(wr.key) {
		o.broken("I12", &wr.key, "%v has only a part of a session, and could have had all of %v", l.id, wr.by.id)
	}
}

// holds checks that a member has what it is said to have.
func (o *observer) holds(l *incarnation, wr *written) {
	if !l.alive || l.core.Dead(wr.key) || o.old(wr.key) || o.w.now-wr.at > o.stays(wr)-2*time.Second {
		return
	}
	for _, name := range wr.names {
		if l.core.StampOf(wr.key, name).Less(wr.stamp) {
			o.broken("I8", &wr.key, "%v is said to have applied a write of %q by %v, and has not", l.id, name, wr.by.id)
		}
	}
}

// stays is for how long those who have a write surely have its session: they know with
// it whether its user came back.
func (o *observer) stays(wr *written) time.Duration {
	if wr.brief {
		return o.w.mix.brief()
	}
	return o.w.mix.MaxInactive
}

// limit is for how long a session is surely kept unused by those who know what
// these incarnations know of it, and when they learned it.
func (o *observer) limit(k deltamanager.Key, knows func(l *incarnation, since time.Duration) bool) time.Duration {
	if o.kept[k] {
		return o.w.mix.MaxInactive
	}
	for l, since := range o.uses[k].back {
		if knows(l, since) {
			return o.w.mix.MaxInactive
		}
	}
	return o.w.mix.brief()
}

// old tells whether a session has come near the end of its lifetime.
func (o *observer) old(k deltamanager.Key) bool {
	return o.w.now-o.uses[k].created > o.w.mix.Lifetime-2*time.Second
}

// served checks a node when it serves a request: it has noticed if it was
// paused; and when it does so for the first time, it has what the others have.
func (o *observer) served(l *incarnation) {
	if l.core.Stats().Pauses < l.longPauses {
		o.broken("I10", nil, "%v serves without having noticed a pause", l.id)
	}
	if l.served {
		return
	}
	l.served = true
	for i, c := range l.conns {
		if c != nil && c.up && c.gen == 1 && c.upAt < l.born+900*time.Millisecond && c.to.alive && o.w.nodes[i].incarnation == c.to {
			o.joined(l, c.to)
		}
	}
}

// joined checks a node that serves for the first time, and was connected to a
// donor before it may have taken itself for alone, and ever since: it has what the
// donor had when it was born, but for sessions that were about to expire for
// somebody then: those may have been taken over from there, or not, and used again.
func (o *observer) joined(l, donor *incarnation) {
	had := l.offered[donor]
	aging := func(k deltamanager.Key) bool { // for one of those that may have announced it
		for d, had := range l.offered {
			if last, ok := had[k]; ok && d.now()-last > o.w.mix.MaxInactive-expiryDoubt {
				return true
			}
		}
		return false
	}
	o.count(JoinsChecked)
	for _, d := range donor.core.Dump(donor.now()) {
		if _, ok := had[d.Key]; !ok || d.Partial || aging(d.Key) || o.old(d.Key) || l.core.Dead(d.Key) {
			continue
		}
		if l.core.StampOf(d.Key, "") == (deltamanager.Stamp{}) {
			o.broken("I10", &d.Key, "%v serves without a session that %v has", l.id, donor.id)
			return
		}
	}
}

// offers notes what others could tell an incarnation that begins.
func (o *observer) offers(l *incarnation) {
	l.offered = map[*incarnation]map[deltamanager.Key]time.Duration{}
	for _, n := range o.w.nodes {
		if n.incarnation == nil || !n.incarnation.alive || n.incarnation == l {
			continue
		}
		had := map[deltamanager.Key]time.Duration{}
		for _, d := range n.incarnation.core.Dump(n.incarnation.now()) {
			switch {
			case d.Partial, !d.Returned && o.w.mix.brief() == 0:
			case d.Returned:
				had[d.Key] = d.Last
			default: // as old as one that expires when this one does
				had[d.Key] = d.Last - o.w.mix.MaxInactive + o.w.mix.brief()
			}
		}
		l.offered[n.incarnation] = had
	}
}

// handsOver notes what an incarnation that begins to leave is known to have from others.
func (o *observer) handsOver(l *incarnation) {
	for _, writes := range o.writes {
		for _, wr := range writes {
			if slices.Contains(wr.holders, l) {
				wr.handed = append(wr.handed, l)
			}
		}
	}
}

// flushed notes that an incarnation has left after all its members had all it wrote, and
// all it had from others when it began to leave.
func (o *observer) flushed(l *incarnation) {
	var holders []*incarnation
	for _, c := range l.conns {
		if c != nil && c.known && c.to.alive {
			holders = append(holders, c.to)
		}
	}
	for _, writes := range o.writes {
		for _, wr := range writes {
			if wr.by == l || slices.Contains(wr.handed, l) {
				o.count(FlushesChecked)
				wr.holders = append(wr.holders, holders...)
				for _, holder := range holders {
					o.holds(holder, wr)
				}
			}
		}
	}
}

// died finds out which invalidations nobody knows of any more.
func (o *observer) died(*incarnation) {
	for k, e := range o.ended {
		if e.extinct || o.w.now > e.horizon {
			continue
		}
		e.extinct = true
		for _, n := range o.w.nodes {
			if n.incarnation != nil && n.incarnation.alive && n.incarnation.core.Dead(k) {
				e.extinct = false
			}
		}
	}
}

// gone looks at a client whose session a node did not know: was there a good
// reason?
func (o *observer) gone(v *visit) {
	o.count(Missing)
	c := v.c
	k := c.key
	o.w.tellOf(k, "client %d is told by %v that it has no session, stale %v", c.id, v.l.id, v.stale)
	if c.doubt || o.ended[k] != nil {
		return
	}
	limit := o.limit(k, func(l *incarnation, since time.Duration) bool {
		return l == v.l || o.goodFor(v.l, l, 2*time.Second) && o.w.now-since > o.heardIn()
	})
	if limit == 0 {
		return // it may have been evicted before its user came back, or while that was announced
	}
	idle := o.w.now-o.knownUse(v) >= limit-2*time.Second
	if !o.w.mix.Hostile && len(v.tokens) > 0 && !o.old(k) && !idle {
		for _, n := range o.w.nodes {
			if n.incarnation == nil || n.incarnation == v.l || !o.steady(v.l, n.incarnation) {
				continue
			}
			if _, ok := n.incarnation.core.Peek(n.incarnation.now(), c.cookie); ok {
				o.broken("I4", &k, "%v does not know a session, and could have asked %v", v.l.id, n.incarnation.id)
				return
			}
		}
	}
	if v.stale {
		return
	}
	if !o.old(k) && !idle {
		for _, t := range v.seen {
			for _, wr := range o.writes[k] {
				if wr.stamp.Incarnation == t.token.Stamp.Incarnation && wr.stamp.Clock <= t.token.Stamp.Clock &&
					o.w.now-t.set < tokenLife-time.Second && o.w.now-wr.at < tokenLife-time.Second {
					o.broken("I4", &k, "%v does not know a session in which its user has seen a write by %v", v.l.id, wr.by.id)
					return
				}
			}
		}
	}
	if o.w.mix.Hostile {
		return
	}
	if o.w.now-c.used > limit-500*time.Millisecond || o.w.now-o.uses[k].created > o.w.mix.Lifetime-500*time.Millisecond {
		return
	}
	for _, n := range o.w.nodes {
		l := n.incarnation
		if l == nil || !l.alive || !o.steady(v.l, l) {
			continue
		}
		if info, ok := l.core.Peek(l.now(), c.cookie); ok && info.Key == k && o.w.now-o.since(l) > steadyTime {
			o.broken("I12", &k, "%v does not know a session that %v has had for long", v.l.id, l.id)
			return
		}
	}
}

// heardIn is in what time what one node tells reaches another one: what is lost is announced
// again after two seconds, and may be lost again.
func (o *observer) heardIn() time.Duration {
	if o.w.mix.Hostile {
		return steadyTime
	}
	return 2 * time.Second
}

// knownUse is when the session was last used by what the node that answers knows,
// or could have heard from those it has had good connections with.
func (o *observer) knownUse(v *visit) time.Duration {
	u := o.uses[v.c.key]
	used := u.created
	for l, at := range u.by {
		if l == v.l || o.goodFor(v.l, l, 2*time.Second) {
			used = max(used, at)
		}
	}
	return min(used, v.used)
}

// steadyTime is how long the way between two nodes must have been good before
// they have no excuse.
const steadyTime = 8 * time.Second

// overstay is by how much a session may outlive its time beside a granule.
const overstay = 6 * time.Second

func (o *observer) since(l *incarnation) time.Duration { return max(l.born, l.woke) }

// steady tells whether two incarnations have had a good connection for steadyTime.
func (o *observer) steady(a, b *incarnation) bool { return o.goodFor(a, b, steadyTime) }

// goodFor tells whether two incarnations have had a good connection for some time.
func (o *observer) goodFor(a, b *incarnation, d time.Duration) bool {
	if a == b {
		return true
	}
	w := o.w
	ca, cb := a.conns[b.node.index], b.conns[a.node.index]
	for _, l := range [...]*incarnation{a, b} {
		if !l.alive || l.paused || l.waking || l.node.slow > 0 || w.now-o.since(l) < d || w.now-l.node.slowAt < d {
			return false
		}
	}
	return ca != nil && cb != nil && ca.to == b && cb.to == a && ca.up && cb.up && w.network.reachable(a, b) && w.now-w.network.cutAt > d
}

// toldOf checks that the answer to a write carries a token for it, unless the
// write is overwritten by now.
func (o *observer) toldOf(v *visit, tokens []deltamanager.Token) {
	k := v.ref.Key()
	if v.wrote == (deltamanager.Stamp{}) || o.ended[k] != nil || len(o.writes[k]) == 0 {
		return
	}
	for _, t := range tokens {
		if t.Stamp.Incarnation == v.wrote.Incarnation && !t.Stamp.Less(v.wrote) {
			return
		}
	}
	for _, wr := range o.writes[k] {
		if wr.stamp != v.wrote || o.w.now-wr.at > tokenLife-time.Second {
			continue
		}
		for _, name := range wr.names {
			if v.l.core.StampOf(k, name) != v.wrote {
				return
			}
		}
		o.broken("I4", &k, "%v answers a write without a token for it", v.l.id)
	}
}

// provable are the tokens that the node can know to be a member's. Without a secret
// it has to have met somebody who has the key; else it can't even say that something is missing.
func (o *observer) provable(v *visit, cookie deltamanager.CookieHash, tokens []deltamanager.Token) []deltamanager.Token {
	if o.w.secret() {
		return tokens
	}
	return slices.DeleteFunc(slices.Clone(tokens), func(t deltamanager.Token) bool {
		for _, l := range o.incarnations {
			if l.alive && o.steady(v.l, l) && l.core.Proves(cookie, t) {
				return false
			}
		}
		return !v.l.core.Proves(cookie, t)
	})
}

// healthy tells whether every origin of the tokens can be asked.
func (o *observer) healthy(v *visit, tokens []deltamanager.Token) bool {
	if o.w.mix.Hostile {
		return false
	}
	for _, t := range tokens {
		ok := false
		for _, l := range o.incarnations {
			if l.id.Incarnation == t.Stamp.Incarnation && l.alive && o.steady(v.l, l) {
				ok = true
			}
		}
		if !ok {
			return false
		}
	}
	return len(tokens) > 0
}

// starts notes what clock a node begins a new incarnation with.
func (o *observer) starts(n *node, skew time.Duration) {
	if skew != 0 {
		o.count(Skewed)
	}
	if n.incarnation != nil && skew-n.skew < -(o.w.now-n.incarnation.born) {
		o.count(Backward)
	}
}
