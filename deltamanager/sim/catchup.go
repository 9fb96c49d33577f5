package sim

import (
	"maps"
	"slices"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
)

// openCaughtUp opens the session of a cookie hash as a node does: what the client has seen
// and the node has not is waited for.
func (w users) openCaughtUp(v *visit, cookie deltamanager.CookieHash, do func()) {
	open := func() {
		if v.c.op != v.op {
			return // they have given up
		}
		v.ref, v.info, v.found = v.l.core.Open(v.l.now(), cookie)
		do()
	}
	tokens := v.c.tokens(w.now)
	v.seen, v.used = slices.Clone(v.c.seen), v.c.used
	q := v.l.core.CatchUp(v.l.now(), cookie, tokens, v.c)
	v.tokens = w.obs.provable(v, cookie, tokens)
	unknown := len(v.tokens) < len(tokens)
	if q == nil {
		v.stale = unknown
		open()
		return
	}
	end := w.now + w.mix.FreshnessWait
	_, known := v.l.core.Peek(v.l.now(), cookie)
	healthy := known && w.obs.healthy(v, tokens)
	var look func()
	look = func() {
		if !answered(q) && w.now < end {
			w.after(time.Millisecond, func() { w.call(v.l, look) })
			return
		}
		if v.stale = v.l.core.Close(q); v.stale {
			w.obs.count(Stale)
			if healthy && w.obs.healthy(v, tokens) {
				w.obs.broken("I4", &v.c.key, "%v calls what it shows stale, and could have asked", v.l.id)
			}
		}
		v.stale = v.stale || unknown
		open()
	}
	look()
}

func answered(q *deltamanager.CatchUp) bool {
	select {
	case <-q.Done():
		return true
	default:
		return false
	}
}

// tokens are the read-your-writes cookies that the browser still sends.
func (c *client) tokens(now time.Duration) []deltamanager.Token {
	var out []deltamanager.Token
	for _, name := range slices.Sorted(maps.Keys(c.jar)) {
		if now-c.jar[name].set < tokenLife {
			out = append(out, c.jar[name].token)
		}
	}
	return out
}

// Asker implements deltamanager.Asker.
func (c *client) Asker() uint64 { return uint64(c.id) }

// tokens are the cookies of a response.
func (w users) tokens(v *visit) []deltamanager.Token {
	if v.ref == (deltamanager.Ref{}) {
		return nil
	}
	tokens := v.ref.Tokens(v.l.now(), v.tokens)
	w.obs.toldOf(v, tokens)
	return tokens
}
