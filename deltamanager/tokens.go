package deltamanager

import (
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/token"
)

// NewTokenKeys are these keys, the newest first. Their Change replaces them while managers run.
func NewTokenKeys(keys ...TokenKey) *TokenKeys { return token.NewSecrets(keys...) }

// Tokens are what the response to a request must carry, as cookies of these
// names: for each origin of a write that is in the session and is younger than
// TokenLife, the newest stamp, unless the request came with that or more.
//
// A node names tokens for its own writes after itself, and those for what it
// shows of others' writes after both: so each cookie is only ever set by one
// node, and no answer to a parallel request can set back what another one said.
func (r Ref) Tokens(now time.Duration, seen []Token) []Token {
	c := r.c
	// By the wall clock, not by the hybrid one: that may have been moved far
	// ahead, by another member, since the write.
	old := c.clock.Physical(now - TokenLife)
	b := c.table.Lock(r.s.Key)
	var few [4]Stamp
	var cookie CookieHash
	stamps := few[:0]
	if s := b.Session(r.s.Key); s != nil {
		for i := range s.Regs {
			if st := s.Regs[i].Stamp; st.Clock > old {
				stamps = newest(stamps, st)
			}
		}
		cookie = s.CookieHash()
	}
	b.Unlock()
	var out []Token
	for _, s := range stamps {
		if c.shown(cookie, s, seen) {
			continue
		}
		name := c.cfg.Self.Name
		if s.Incarnation != c.cfg.Self.Incarnation {
			origin := c.peers.nameOf(s.Incarnation)
			if origin == "" {
				continue
			}
			name = origin + "." + name
		}
		if t, ok := c.keys.Sign(cookie, s, name); ok {
			out = append(out, t)
		}
	}
	return out
}

// shown tells whether the user has a token for the write, or for a later one of its
// origin, that is good for the session as its cookie is now.
func (c *base) shown(cookie CookieHash, s Stamp, seen []Token) bool {
	for i := range seen {
		if t := &seen[i]; t.Stamp.Incarnation == s.Incarnation && t.Stamp.Clock >= s.Clock && c.keys.Proves(cookie, t) {
			return true
		}
	}
	return false
}

// newest keeps one stamp per incarnation, the highest.
func newest(stamps []Stamp, s Stamp) []Stamp {
	for i := range stamps {
		if stamps[i].Incarnation == s.Incarnation {
			stamps[i].Clock = max(stamps[i].Clock, s.Clock)
			return stamps
		}
	}
	return append(stamps, s)
}
