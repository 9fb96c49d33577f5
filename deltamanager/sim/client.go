package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
)

// client is a user with a browser: one session at a time, cookies, and what they
// remember of the answers they got.
type client struct {
	id         int
	op         uint64 // of the request they wait for; older answers are ignored
	at         int    // node that answered last, -1: none
	has        bool   // they have a session cookie
	unreturned bool   // and has not come back with it
	key        deltamanager.Key
	cookie     deltamanager.CookieHash
	user       string
	logins     int
	used       time.Duration // when the latest request was answered that found the session
	doubt      bool          // a request that may have ended or renamed the session was not answered
	counter    string        // the attribute they count in; another one when its value is in doubt
	count      int64         // the value in the last answer
	counted    time.Duration // and when
	epoch      int
	jar        map[string]cookie
	seen       []cookie     // tokens given since the last warning
	dead       []deadCookie // of sessions they logged out of, or before a login
}

// deadTag is an id that was given up, at a node that knows so.
type deadCookie struct {
	cookie deltamanager.CookieHash
	key    deltamanager.Key
	at     *incarnation
	next   deltamanager.Key // of the session that goes on in its place; zero: a logout
}

// cookie is a read-your-writes token in a browser.
type cookie struct {
	token deltamanager.Token
	set   time.Duration
}

// visit is a request that a node handles.
type visit struct {
	wrote  deltamanager.Stamp
	c      *client
	op     uint64
	l      *incarnation
	ref    deltamanager.Ref
	info   deltamanager.Info
	found  bool
	moves  bool // its node has given the session another id
	attack bool // by somebody else, with an id that the client has given up
	stale  bool // the node said that what it shows may be older than what they have seen
	tries  int
	pauses int64                // of l when it began
	tokens []deltamanager.Token // that came with the request
	seen   []cookie             // by its user when they made it
	used   time.Duration        // when its user had last used the session before
}

const (
	patience  = 1500 * time.Millisecond // after which a client gives up
	tokenLife = 10 * time.Second
)

// users make the requests of a history, attackers included.
type users struct{ *world }

func (w users) newClient(i int) *client {
	c := &client{id: i, at: -1, jar: map[string]cookie{}}
	w.clients = append(w.clients, c)
	w.after(startup+w.between(0, time.Second), func() { w.act(c) })
	return c
}

// act is what a client does next.
func (w users) act(c *client) {
	if w.now >= w.load {
		return
	}
	c.op++
	op := c.op
	w.after(patience, func() {
		if c.op == op {
			w.giveUp(c)
		}
	})
	if !c.has {
		w.login(c)
		return
	}
	x := w.rnd.Float64()
	m := w.mix
	for _, a := range [...]struct {
		share float64
		do    func(*client)
	}{{m.Logout, w.logout}, {m.Rename, w.rename}, {m.Parallel, w.parallel}, {m.Idle, w.idle}, {0.02, w.intrude}} {
		if x < a.share {
			a.do(c)
			return
		}
		x -= a.share
	}
	if w.chance(m.Reads) {
		w.read(c)
		return
	}
	w.increment(c)
}

// answered lets the client think, then act again.
func (w users) answered(v *visit) {
	if v.c.op != v.op {
		return
	}
	v.c.at = v.l.node.index
	w.next(v.c, w.between(5*time.Millisecond, w.mix.Think))
}

func (w users) next(c *client, d time.Duration) {
	c.op++
	w.after(d, func() { w.act(c) })
}

// giveUp is what a client does after no answer: what they asked for may or may
// not have happened.
func (w users) giveUp(c *client) {
	w.obs.count(Unanswered)
	w.otherCounter(c)
	w.next(c, w.between(0, 100*time.Millisecond))
}

// otherCounter makes the client count in another attribute: the order of their
// latest writes is not certain any more.
func (w users) otherCounter(c *client) {
	c.epoch++
	c.counter, c.count = "c"+strconv.Itoa(c.epoch), 0
}

// door is the balancer: it keeps the client where they were, more or less.
func (w users) door(last int) *node {
	if last >= 0 && w.nodes[last].serves() && w.chance(w.mix.Sticky) {
		return w.nodes[last]
	}
	for range 20 {
		if n := w.nodes[w.rnd.IntN(len(w.nodes))]; n.serves() {
			return n
		}
	}
	return nil
}

// request sends a request with a session cookie; do runs at the node.
func (w users) request(c *client, last int, cookie deltamanager.CookieHash, do func(*visit)) {
	v := &visit{c: c, op: c.op}
	w.deliver(v, last, func() {
		w.openCaughtUp(v, cookie, func() {
			if v.found {
				c.unreturned = false
				w.obs.opened(v, cookie)
			}
			do(v)
		})
	})
}

// deliver finds a node for the visit, and another one when that refuses.
func (w users) deliver(v *visit, last int, do func()) {
	n := w.door(last)
	if n == nil || v.tries > 5 {
		return // they give up in time
	}
	w.deliverTo(v, n, do)
}

func (w users) deliverTo(v *visit, n *node, do func()) {
	v.tries++
	w.after(w.between(200*time.Microsecond, 2*time.Millisecond), func() {
		l := n.incarnation
		again := func() { w.after(5*time.Millisecond, func() { w.deliver(v, -1, do) }) }
		if l == nil || !l.alive || n.draining {
			again()
			return
		}
		enter := func() {
			if v.c.op != v.op {
				return // they have given up
			}
			if !l.core.Enter(l.now()) {
				again()
				return
			}
			v.l, v.pauses = l, l.longPauses
			w.obs.served(l)
			do()
		}
		if l.paused && w.chance(0.5) {
			l.held = append([]func(){enter}, l.held...)
			return
		}
		w.call(l, enter)
	})
}

// handle lets the handler take its time; then do runs, even if the client has gone.
func (w users) handle(v *visit, do func()) {
	d := time.Duration(0)
	if w.chance(0.3) {
		d = w.between(0, 30*time.Millisecond)
	}
	if w.chance(0.01) {
		d = w.between(0, 3*time.Second) // longer than the client waits, or over a pause
	}
	w.after(d, func() {
		w.call(v.l, func() {
			if v.c.op != v.op {
				w.obs.count(Abandoned)
			}
			do()
		})
	})
}

// commit commits at the node, waits as a node does, and answers the client.
func (w users) commit(v *visit, tx deltamanager.Tx, answered func()) {
	receipt, err := v.l.core.Commit(v.l.now(), v.ref, tx)
	v.wrote = receipt.Stamp
	w.tellOf(v.ref.Key(), "client %d commits %s at %v: %v, %v", v.c.id, describe(tx), v.l.id, receipt.Stamp, err)
	switch {
	case errors.Is(err, deltamanager.ErrGone):
		w.answer(v, func() { w.lostSession(v) })
		return
	case errors.Is(err, deltamanager.ErrMoved) && v.c.key == v.ref.Key() && !v.c.doubt:
		w.answer(v, func() { w.lostSession(v) })
		return
	case err != nil:
		w.obs.count(Refused)
		w.answer(v, func() { w.answered(v) })
		return
	}
	w.committed(v, tx, receipt, false, false, answered)
}

func describe(tx deltamanager.Tx) string {
	switch {
	case tx.Invalidate:
		return "an invalidation"
	}
	var s strings.Builder
	s.WriteString("use")
	for _, x := range tx.Writes {
		fmt.Fprintf(&s, " %s=%s", x.Name, x.Value)
	}
	return s.String()
}

// committed waits for acknowledgements, then answers.
func (w users) committed(v *visit, tx deltamanager.Tx, receipt deltamanager.Receipt, create, final bool, answered func()) {
	wr := w.obs.committed(v, tx, receipt, create, final)
	if receipt.Stamp == (deltamanager.Stamp{}) {
		w.answer(v, answered)
		return
	}
	wait := v.l.core.Wait(w.mix.Acks, create, tx.Invalidate || final)
	if wait.Level == deltamanager.Async {
		w.answer(v, answered)
		return
	}
	waiter := v.l.core.Expect(receipt, wait.Level)
	end := w.now + wait.Limit
	var look func()
	look = func() {
		if done(waiter) || w.now >= end {
			w.obs.confirmed(wr, waiter)
			waiter.Close()
			w.answer(v, answered)
			return
		}
		w.after(2*time.Millisecond, func() { w.call(v.l, look) })
	}
	w.call(v.l, look)
}

func done(wt *deltamanager.Waiter) bool {
	select {
	case <-wt.Done():
		return true
	default:
		return false
	}
}

// answer sends the response to the client; f runs there if they still wait. Freshness
// tokens are cookies of the response. So is the id of a session that goes on in the place
// of another: a browser takes both, or neither.
func (w users) answer(v *visit, f func()) {
	tokens := w.tokens(v)
	w.after(w.between(200*time.Microsecond, 2*time.Millisecond), func() {
		if v.moves {
			if v.c.op == v.op {
				f()
				for _, t := range tokens {
					w.keep(v, t)
				}
			}
			return
		}
		if v.stale {
			v.c.seen = nil
		}
		v.c.seen = slices.DeleteFunc(v.c.seen, func(t cookie) bool { return w.now-t.set > tokenLife })
		for _, t := range tokens {
			w.keep(v, t)
		}
		if v.c.op == v.op {
			f()
		}
	})
}

// keep puts a token into the browser. One for a former session, in an answer that is late, takes
// the place of one for the session that the user has now: that one is not sent any more.
func (w users) keep(v *visit, t deltamanager.Token) {
	c := v.c
	c.jar[t.Name] = cookie{t, w.now}
	if c.has && v.ref.Key() != c.key {
		c.seen = slices.DeleteFunc(c.seen, func(o cookie) bool { return o.token.Name == t.Name })
		w.otherCounter(c)
		return
	}
	c.seen = append(c.seen, c.jar[t.Name])
}

// login makes a session.
func (w users) login(c *client) {
	c.seen = nil
	v := &visit{c: c, op: c.op}
	w.deliver(v, c.at, func() {
		cookie, user := w.drawCookie(), w.userOf(c)
		if w.mix.FirstInactive > 0 && w.chance(0.7) {
			user = ""
		}
		ref, receipt, err := v.l.core.Create(v.l.now(), cookie, deltamanager.Tx{Principal: user})
		if err != nil {
			w.obs.broken("I0", nil, "create: %v", err)
			return
		}
		v.ref, v.wrote = ref, receipt.Stamp
		w.tellOf(ref.Key(), "client %d creates it at %v: %v", c.id, v.l.id, receipt.Stamp)
		w.obs.named(cookie, ref.Key(), user)
		w.obs.kept[ref.Key()] = user != ""
		w.committed(v, deltamanager.Tx{}, receipt, true, false, func() {
			c.has, c.key, c.cookie, c.user, c.doubt = true, ref.Key(), cookie, user, false
			c.used = w.now
			w.otherCounter(c)
			c.unreturned = user == ""
			if c.unreturned && w.chance(w.mix.Bounce) {
				w.obs.count(Bounces)
				c.has = false
			}
			w.answered(v)
		})
	})
}

func (w users) drawCookie() deltamanager.CookieHash {
	var t deltamanager.CookieHash
	binary.LittleEndian.PutUint64(t[:], w.rnd.Uint64())
	binary.LittleEndian.PutUint64(t[8:], w.rnd.Uint64())
	return t
}

func (w users) userOf(c *client) string {
	c.logins++
	return fmt.Sprintf("user%d.%d", c.id, c.logins)
}

// lostSession is what happens when a node does not know the client's session.
func (w users) lostSession(v *visit) {
	w.obs.gone(v)
	v.c.has, v.c.doubt = false, false
	w.answered(v)
}

// increment counts: what a client reads must not be less than what the last answer said.
func (w users) increment(c *client) {
	w.request(c, c.at, c.cookie, func(v *visit) {
		if !v.found {
			w.answer(v, func() { w.lostSession(v) })
			return
		}
		name := c.counter
		n := w.counter(v, name)
		w.obs.counted(v, name, n)
		if v.stale {
			w.otherCounter(c)
			name, n = c.counter, 0
		}
		w.handle(v, func() {
			w.commit(v, deltamanager.Tx{Writes: []deltamanager.Write{{Name: name, Value: strconv.AppendInt(nil, n+1, 10)}}}, func() {
				c.used = w.now
				if c.counter == name {
					c.count, c.counted = n+1, w.now
				}
				w.answered(v)
			})
		})
	})
}

// counter reads a counter of the session that was just opened.
func (w users) counter(v *visit, name string) int64 {
	b, err := v.ref.Get(name)
	if err != nil {
		k := v.ref.Key()
		w.obs.broken("I0", &k, "%v reads %s of the session it has opened: %v", v.l.id, name, err)
	}
	n, _ := strconv.ParseInt(string(b), 10, 64)
	return n
}

// read uses the session without writing to it.
func (w users) read(c *client) {
	w.request(c, c.at, c.cookie, func(v *visit) {
		if !v.found {
			w.answer(v, func() { w.lostSession(v) })
			return
		}
		n := w.counter(v, c.counter)
		w.obs.counted(v, c.counter, n)
		name := c.counter
		if v.stale {
			w.otherCounter(c)
		}
		w.obs.count(Reads)
		w.commit(v, deltamanager.Tx{}, func() {
			c.used = w.now
			if c.counter == name && n > c.count {
				c.count, c.counted = n, w.now
			}
			w.answered(v)
		})
	})
}

// move gives the session of a visit another identity at its node, waits, and answers.
func (w users) move(v *visit, to deltamanager.Identity, tx deltamanager.Tx, answered func()) {
	old := v.ref.Key()
	ref, receipt, err := v.l.core.Move(v.l.now(), v.ref, to, tx)
	w.tellOf(old, "client %d moves it to %v at %v: %v, %v", v.c.id, to.Key, v.l.id, receipt.Stamp, err)
	w.tellOf(to.Key, "client %d moves %v to it at %v: %v, %v", v.c.id, old, v.l.id, receipt.Stamp, err)
	switch {
	case errors.Is(err, deltamanager.ErrGone) || errors.Is(err, deltamanager.ErrMoved):
		w.answer(v, func() { w.lostSession(v) })
		return
	case err != nil:
		w.obs.count(Refused)
		w.answer(v, func() { w.answered(v) })
		return
	}
	w.obs.moved(v, old, to, ref)
	v.ref, v.wrote, v.moves = ref, receipt.Stamp, true
	w.committed(v, tx, receipt, false, true, answered)
}

func (w users) drawKey() (k deltamanager.Key) {
	binary.LittleEndian.PutUint64(k[:], w.rnd.Uint64())
	binary.LittleEndian.PutUint64(k[8:], w.rnd.Uint64())
	return k
}

// rename is a login: the user gets another id and another name, in one piece.
func (w users) rename(c *client) {
	w.request(c, c.at, c.cookie, func(v *visit) {
		if !v.found {
			w.answer(v, func() { w.lostSession(v) })
			return
		}
		to := deltamanager.Identity{Key: w.drawKey(), CookieHash: w.drawCookie(), Principal: w.userOf(c)}
		old, doubt := deadCookie{c.cookie, c.key, v.l, to.Key}, c.doubt
		c.doubt = true
		for w.chance(w.mix.Attacks) {
			w.after(w.between(0, 40*time.Millisecond), func() { w.attack(old, w.anyNode()) })
		}
		w.handle(v, func() {
			w.obs.count(Renames)
			w.move(v, to, deltamanager.Tx{}, func() {
				if v.stale {
					c.seen = nil
				}
				c.dead = append(c.dead, old)
				c.cookie, c.key, c.user, c.used, c.doubt = to.CookieHash, to.Key, to.Principal, w.now, doubt
				if v.stale {
					w.otherCounter(c) // an answer has said so, once
				}
				w.answered(v)
			})
		})
	})
}

func (w users) logout(c *client) {
	w.request(c, c.at, c.cookie, func(v *visit) {
		if !v.found {
			w.answer(v, func() { w.lostSession(v) })
			return
		}
		c.doubt = true
		w.commit(v, deltamanager.Tx{Invalidate: true}, func() {
			c.dead = append(c.dead, deadCookie{c.cookie, c.key, v.l, deltamanager.Key{}})
			c.has = false
			w.answered(v)
		})
	})
}

// parallel sends requests for one session to several nodes at once, each
// writing to its own attribute.
func (w users) parallel(c *client) {
	w.obs.count(Parallel)
	left := 2 + w.rnd.IntN(2)
	for i := range left {
		name := fmt.Sprintf("p%d", w.rnd.IntN(3)*3+i)
		value := strconv.AppendUint(nil, uint64(w.rnd.Uint32()), 10)
		w.request(c, -1, c.cookie, func(v *visit) {
			if !v.found {
				w.answer(v, func() { w.lostSession(v) })
				return
			}
			w.handle(v, func() {
				w.commit(v, deltamanager.Tx{Writes: []deltamanager.Write{{Name: name, Value: value}}}, func() {
					c.used = w.now
					if v.stale {
						w.otherCounter(c) // an answer has said so, once
					}
					if left--; left == 0 {
						w.answered(v)
					}
				})
			})
		})
	}
}

// idle leaves the session alone: until shortly before it expires, or until
// it must have.
func (w users) idle(c *client) {
	d := w.mix.MaxInactive - 1500*time.Millisecond
	if w.chance(0.3) {
		d = w.mix.MaxInactive + w.mix.granule() + overstay
	}
	if c.unreturned && w.chance(0.5) {
		d = w.mix.firstInactive() - 1500*time.Millisecond
	}
	w.obs.count(Idles)
	w.next(c, d)
}
