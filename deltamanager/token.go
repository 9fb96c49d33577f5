package deltamanager

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate"
	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
)

// Token says that a user has seen a write with this stamp. The user's browser
// carries it from node to node for TokenLife, one per origin, so that no node shows
// less than they have seen. Only a member can make one: MAC covers the rest and the
// tag of the session, so a token means nothing with another session's cookie.
type Token struct {
	Name  string // of the cookie: the node that wrote, or that with the node that showed it
	Stamp Stamp
	MAC   MAC
}

// MAC authenticates a token: the first 64 bits of SHA-256 over the key, the session's
// tag, the stamp and the name. All but the name has a fixed length, and three quarters of
// the hash are not shown, so nothing can be appended (Coron et al., "Merkle-Damgård
// Revisited", 2005: chop-MD). HMAC does the same in twice the time.
type MAC [8]byte

// TokenKey is what MACs are made with: a secret of all members.
type TokenKey [16]byte

// TokenLife is how long a token is worth carrying: after that, either every
// member has the write or its origin is out of reach.
const TokenLife = 10 * time.Second

// maxTokenName bounds the names of tokens: two names of nodes and a dot.
const maxTokenName = 160

func (k *TokenKey) mac(tag Tag, s Stamp, name string) (m MAC) {
	var buf [len(TokenKey{}) + len(Tag{}) + 16 + maxTokenName]byte
	b := append(buf[:0], k[:]...)
	b = append(b, tag[:]...)
	b = binary.BigEndian.AppendUint64(b, s.Clock)
	b = binary.BigEndian.AppendUint64(b, s.Boot)
	b = append(b, name[:min(len(name), maxTokenName)]...)
	sum := sha256.Sum256(b)
	copy(m[:], sum[:])
	return m
}

// agreedKey is a key that members tell each other.
type agreedKey struct {
	drawn uint64 // when, by the clock of whoever drew it
	key   TokenKey
}

func (k agreedKey) before(o agreedKey) bool {
	return k.drawn < o.drawn || k.drawn == o.drawn && slices.Compare(k.key[:], o.key[:]) < 0
}

// keyring holds the keys of tokens: the first makes them, tokens by any are believed.
// From outside come those that the cluster's secret gives. Where there is none, each core
// draws one, every beat tells the sender's first, and the oldest is everybody's first: who
// joins takes the cluster's, two clusters that meet take the older one's. Whoever has
// taken another key tells the former one, too, as long as tokens by it live: they go on being
// believed. Safe for concurrent use.
type keyring struct {
	agree bool
	set   atomic.Pointer[keySet]
}

// keySet is not changed any more.
type keySet struct {
	keys   []agreedKey
	former TokenKey // was first before; zero: none
	until  time.Duration
}

// maxAgreed bounds the keys that are believed. Tokens live for seconds only.
const maxAgreed = 4

func (r *keyring) init(cfg *Config, drawn uint64) {
	set := new(keySet)
	for _, k := range cfg.TokenKeys {
		set.keys = append(set.keys, agreedKey{key: k})
	}
	if r.agree = len(set.keys) == 0; r.agree {
		k := agreedKey{drawn: drawn}
		if _, err := cfg.Rand.Read(k.key[:]); err == nil { // else no token is made or believed
			set.keys = append(set.keys, k)
		}
	}
	r.set.Store(set)
}

// told is the key to tell others, and the former one; zero: none.
func (r *keyring) told(now time.Duration) (first agreedKey, former TokenKey) {
	s := r.set.Load()
	if !r.agree || len(s.keys) == 0 {
		return first, former
	}
	if now < s.until {
		former = s.former
	}
	return s.keys[0], former
}

// learn takes the key that a member tells, and the former one.
func (r *keyring) learn(now time.Duration, first agreedKey, former TokenKey) {
	r.add(now, first)
	r.add(now, agreedKey{math.MaxUint64, former})
}

func (r *keyring) add(now time.Duration, k agreedKey) {
	for r.agree && k.key != (TokenKey{}) {
		old := r.set.Load()
		known := slices.IndexFunc(old.keys, func(o agreedKey) bool { return o.key == k.key })
		first := len(old.keys) == 0 || k.before(old.keys[0])
		if known == 0 || known > 0 && !first {
			return
		}
		s := keySet{keys: slices.Clone(old.keys), former: old.former, until: old.until}
		if known > 0 {
			s.keys = slices.Delete(s.keys, known, known+1)
		}
		if first {
			if len(s.keys) > 0 {
				s.former, s.until = s.keys[0].key, now+TokenLife+table.ClockSlack
			}
			s.keys = slices.Insert(s.keys, 0, k)
		} else {
			s.keys = slices.Insert(s.keys, 1, k)
		}
		s.keys = s.keys[:min(len(s.keys), maxAgreed)]
		if r.set.CompareAndSwap(old, &s) {
			return
		}
	}
}

func (r *keyring) sign(tag Tag, s Stamp, name string) (Token, bool) {
	keys := r.set.Load().keys
	if len(keys) == 0 {
		return Token{}, false
	}
	return Token{name, s, keys[0].key.mac(tag, s, name)}, true
}

// proves tells whether a member made the token, for the session with the tag.
func (r *keyring) proves(tag Tag, t *Token) bool {
	if mutate.Is(mutate.ForgedToken) {
		return true
	}
	if len(t.Name) > maxTokenName {
		return false
	}
	keys := r.set.Load().keys
	for i := range keys {
		m := keys[i].key.mac(tag, t.Stamp, t.Name)
		if subtle.ConstantTimeCompare(m[:], t.MAC[:]) == 1 {
			return true
		}
	}
	return false
}

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
	if mutate.Is(mutate.TokenByAge) {
		old = c.clock.Read() - uint64(TokenLife/time.Millisecond)<<16
	}
	b := c.table.Lock(r.s.Key)
	var few [4]Stamp
	var tag Tag
	stamps := few[:0]
	if s := b.Session(r.s.Key); s != nil {
		for i := range s.Regs {
			if st := s.Regs[i].Stamp; st.Clock > old {
				stamps = newest(stamps, st)
			}
		}
		tag = s.Tag()
	}
	b.Unlock()
	var out []Token
	for _, s := range stamps {
		if c.shown(tag, s, seen) {
			continue
		}
		name := c.cfg.Self.Name
		if s.Boot != c.cfg.Self.Boot {
			origin := c.nameOf(s.Boot)
			if origin == "" {
				continue
			}
			name = origin + "." + name
		}
		if t, ok := c.keys.sign(tag, s, name); ok {
			out = append(out, t)
		}
	}
	return out
}

// shown tells whether the user has a token for the write, or for a later one of its
// origin, that is good for the session as its cookie is now.
func (c *Core) shown(tag Tag, s Stamp, seen []Token) bool {
	for i := range seen {
		if t := &seen[i]; t.Stamp.Boot == s.Boot && t.Stamp.Clock >= s.Clock && c.keys.proves(tag, t) {
			return true
		}
	}
	return false
}

// newest keeps one stamp per boot, the highest.
func newest(stamps []Stamp, s Stamp) []Stamp {
	for i := range stamps {
		if stamps[i].Boot == s.Boot {
			stamps[i].Clock = max(stamps[i].Clock, s.Clock)
			return stamps
		}
	}
	return append(stamps, s)
}

// nameOf is the name of the node that a life was at; empty: not known any more.
func (c *Core) nameOf(boot uint64) string {
	if l := c.linkOf(boot); l != nil {
		return l.id.Name
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.IndexFunc(c.past, func(p pastLife) bool { return p.Boot == boot }); i >= 0 {
		return c.past[i].Name
	}
	return ""
}
