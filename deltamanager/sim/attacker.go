package sim

import (
	"slices"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
)

// intrude comes with an id that was never given out; or with one that was given
// up, to a node that knows so.
func (w users) intrude(c *client) {
	if len(c.dead) > 0 && w.chance(0.5) {
		w.obs.count(GivenUp)
		d := c.dead[w.rnd.IntN(len(c.dead))]
		at := d.at.node
		if w.chance(0.5) {
			at = w.anyNode()
		}
		w.attack(d, at)
		w.next(c, w.between(5*time.Millisecond, w.mix.Think))
		return
	}
	w.stranger(c)
}

func (w users) anyNode() *node { return w.nodes[w.rnd.IntN(len(w.nodes))] }

// attack uses an id that was, or is about to be, given up: whoever planted it, or stole
// it before its user logged in, reads, writes, has the session live longer, or logs in with
// a name of their own, wherever the session before the login is still there.
func (w users) attack(d deadCookie, at *node) {
	v := &visit{c: &client{id: -1, at: -1, key: d.key, jar: map[string]cookie{}}, attack: true} // has a browser of their own
	done := func() {}
	w.deliverTo(v, at, func() {
		found := false
		if v.ref, v.info, found = v.l.core.Open(v.l.now(), d.cookie); !found {
			return
		}
		w.obs.count(Attacks)
		w.obs.touched(v, false)
		w.obs.attacked(v, d)
		inactive := w.mix.MaxInactive
		switch w.rnd.IntN(5) {
		case 0:
			w.commit(v, deltamanager.Tx{Writes: []deltamanager.Write{{Name: "x", Value: []byte("planted")}}}, done)
		case 1, 2:
			w.commit(v, deltamanager.Tx{MaxInactive: &inactive}, done)
		case 3:
			w.move(v, deltamanager.Identity{Key: w.drawKey(), CookieHash: w.drawCookie(), Principal: "mallory"}, deltamanager.Tx{}, done)
		}
	})
}

// stranger comes with an id that was never given out.
func (w users) stranger(c *client) {
	w.obs.count(Forged)
	cookie := w.drawCookie()
	v := &visit{c: c, op: c.op}
	w.deliver(v, -1, func() {
		w.forge(v, cookie)
		if _, _, found := v.l.core.Open(v.l.now(), cookie); found {
			w.obs.broken("I9", nil, "%v found a session for an id that was never given out", v.l.id)
		}
		w.answer(v, func() { w.answered(v) })
	})
}

// forge brings tokens that no member made for the id: the intruder's own, for another session, and
// made-up ones. They ask for nothing.
func (w users) forge(v *visit, cookie deltamanager.CookieHash) {
	tokens := v.c.tokens(w.now)
	for _, t := range slices.Clone(tokens) {
		t.Stamp.Clock += 1 << 24
		tokens = append(tokens, t, deltamanager.Token{Name: v.l.node.name, Stamp: deltamanager.Stamp{Clock: t.Stamp.Clock, Incarnation: 1}})
	}
	behind := slices.ContainsFunc(v.l.core.Stats().Links, func(l deltamanager.LinkStats) bool { return l.Up && !l.Repaired })
	if q := v.l.core.CatchUp(v.l.now(), cookie, tokens, v.c); q != nil {
		v.l.core.Close(q)
		if !behind {
			w.obs.broken("I9", nil, "%v asks for an id that was never given out, by forged tokens", v.l.id)
		}
	}
}
