// Package token makes and checks what proves that a user has seen a write, with keys
// that the members share or agree on.
package token

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"io"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
)

// Token says that a user has seen a write with this stamp. The user's browser
// carries it from node to node for Life, one per origin, so that no node shows
// less than they have seen. Only a member can make one: MAC covers the rest and the
// cookie hash of the session, so a token means nothing with another session's cookie.
type Token struct {
	Name  string // of the cookie: the node that wrote, or that with the node that showed it
	Stamp table.Stamp
	MAC   MAC
	// Other is a MAC by the other key where two secrets are in force: members that know one of the
	// two only believe the token. Zero: there is none.
	Other MAC
}

// MAC authenticates a token: the first 64 bits of SHA-256 over the key, the session's
// cookie hash, the stamp and the name. All but the name has a fixed length, and three quarters of
// the hash are not shown, so nothing can be appended (Coron et al., "Merkle-Damgård
// Revisited", 2005: chop-MD). HMAC does the same in twice the time.
type MAC [8]byte

// Key is what MACs are made with: a secret of all members.
type Key [16]byte

// Life is how long a token is worth carrying: after that, either every
// member has the write or its origin is out of reach.
const Life = 10 * time.Second

// MaxTokenName bounds the names of tokens: two names of nodes and a dot.
const MaxTokenName = 160

func (k *Key) mac(cookie table.CookieHash, s table.Stamp, name string) (m MAC) {
	var buf [len(Key{}) + len(table.CookieHash{}) + 16 + MaxTokenName]byte
	b := append(buf[:0], k[:]...)
	b = append(b, cookie[:]...)
	b = binary.BigEndian.AppendUint64(b, s.Clock)
	b = binary.BigEndian.AppendUint64(b, s.Incarnation)
	b = append(b, name[:min(len(name), MaxTokenName)]...)
	sum := sha256.Sum256(b)
	copy(m[:], sum[:])
	return m
}

// AgreedKey is a key that members tell each other.
type AgreedKey struct {
	Drawn uint64 // when, by the clock of the member that drew it
	Key   Key
}

func (k AgreedKey) before(o AgreedKey) bool {
	return k.Drawn < o.Drawn || k.Drawn == o.Drawn && slices.Compare(k.Key[:], o.Key[:]) < 0
}

// Ring holds the keys of tokens: the first makes them, tokens by any are believed. From outside
// come those that the cluster's secret gives. Where there is none, each core draws one, every
// heartbeat tells the sender's first, and the oldest becomes the first of all: a node that joins
// takes the cluster's, two clusters that meet take the older one's. A member that has taken another
// key tells the former one, too, as long as tokens by it live: they go on being believed. Safe for
// concurrent use.
type Ring struct {
	agree bool
	set   *atomic.Pointer[keySet]
}

// Secrets are keys that the cluster's secret gives, the newest first; they can be changed while
// rings use them. Safe for concurrent use.
type Secrets struct{ set atomic.Pointer[keySet] }

// NewSecrets returns these keys.
func NewSecrets(keys ...Key) *Secrets {
	s := new(Secrets)
	s.Change(keys...)
	return s
}

// Change replaces the keys.
func (s *Secrets) Change(keys ...Key) {
	set := new(keySet)
	for _, k := range keys {
		set.keys = append(set.keys, AgreedKey{Key: k})
	}
	s.set.Store(set)
}

// keySet is not changed any more.
type keySet struct {
	keys   []AgreedKey
	former Key // was first before; zero: none
	until  time.Duration
}

// maxAgreed bounds the keys that are believed. Tokens live for seconds only.
const maxAgreed = 4

// Init takes the keys that the cluster's secret gives, or else, with nil, draws one at that clock.
func (r *Ring) Init(keys *Secrets, rand io.Reader, drawn uint64) {
	if r.agree = keys == nil; !r.agree {
		r.set = &keys.set
		return
	}
	set, k := new(keySet), AgreedKey{Drawn: drawn}
	if _, err := rand.Read(k.Key[:]); err == nil { // else no token is made or believed
		set.keys = append(set.keys, k)
	}
	r.set = new(atomic.Pointer[keySet])
	r.set.Store(set)
}

// Announced is the key that heartbeats carry, and the former one; zero: none.
func (r *Ring) Announced(now time.Duration) (first AgreedKey, former Key) {
	s := r.set.Load()
	if !r.agree || len(s.keys) == 0 {
		return first, former
	}
	if now < s.until {
		former = s.former
	}
	return s.keys[0], former
}

// Learn takes the key that a member tells, and the former one.
func (r *Ring) Learn(now time.Duration, first AgreedKey, former Key) {
	r.add(now, first)
	r.add(now, AgreedKey{math.MaxUint64, former})
}

func (r *Ring) add(now time.Duration, k AgreedKey) {
	for r.agree && k.Key != (Key{}) {
		old := r.set.Load()
		known := slices.IndexFunc(old.keys, func(o AgreedKey) bool { return o.Key == k.Key })
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
				s.former, s.until = s.keys[0].Key, now+Life+table.ClockSlack
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

// Sign makes a token; false: there is no key.
func (r *Ring) Sign(cookie table.CookieHash, s table.Stamp, name string) (Token, bool) {
	keys := r.set.Load().keys
	if len(keys) == 0 {
		return Token{}, false
	}
	t := Token{Name: name, Stamp: s, MAC: keys[0].Key.mac(cookie, s, name)}
	if !r.agree && len(keys) > 1 {
		t.Other = keys[1].Key.mac(cookie, s, name)
	}
	return t, true
}

// Proves tells whether a member made the token, for the session with the cookie hash.
func (r *Ring) Proves(cookie table.CookieHash, t *Token) bool {
	if len(t.Name) > MaxTokenName {
		return false
	}
	keys := r.set.Load().keys
	for i := range keys {
		m := keys[i].Key.mac(cookie, t.Stamp, t.Name)
		if subtle.ConstantTimeCompare(m[:], t.MAC[:]) == 1 {
			return true
		}
		if t.Other != (MAC{}) && subtle.ConstantTimeCompare(m[:], t.Other[:]) == 1 {
			return true
		}
	}
	return false
}
