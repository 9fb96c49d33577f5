package deltamanager

import (
	"encoding/binary"
	"math"
	"sort"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate"
)

// register is one named value of a session with the stamp of its last write.
// The value is never changed in place, so it may be handed out and shared.
type register struct {
	id    *string // of an attribute, its name; nil: the auth register
	stamp Stamp
	value []byte // nil: removed
}

// authName is the name of the register that holds Auth.
const authName = ""

func (r *register) name() string {
	if r.id == nil {
		return authName
	}
	return *r.id
}

// names lets registers of one name share it, in all sessions. Safe for concurrent use.
type names struct {
	mu    sync.RWMutex
	known map[string]*string
}

// maxKnown bounds the names that are shared; beyond it sharing begins anew.
const maxKnown = 4096

func (n *names) of(name []byte) *string {
	if len(name) == 0 {
		return nil
	}
	n.mu.RLock()
	id := n.known[string(name)]
	n.mu.RUnlock()
	if id != nil {
		return id
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known == nil || len(n.known) >= maxKnown {
		n.known = make(map[string]*string)
	}
	s := string(name)
	n.known[s] = &s
	return &s
}

// session is a map of registers, sorted by name, and when it was used. It is
// guarded by the lock of its bucket.
type session struct {
	key  Key
	hash uint64 // sum of the registers' hashes
	regs []register

	// Instants on this node's monotonic clock; those of sessions that came from
	// elsewhere are this node's now minus the age that was told, so no two
	// machines' clocks are ever compared.
	created time.Duration
	last    time.Duration // newest use that is known
	served  time.Duration // newest use at this node
	told    time.Duration // newest use that the others were told by this node
	heard   time.Duration // newest use that others have told

	limit   uint32 // of its inactive time, in limitUnits; 0: none
	partial bool   // registers are known to be missing: not to be served
	// Its cookie has come back, or its user is logged in, or it is of no user. Once true
	// it stays true, and members agree on it as on registers.
	returned bool
	removed  bool // no longer in its bucket; look the key up again
	moved    bool // another session goes on in its place
}

// limitUnit lets limits of 497 days fit into a session, which may be a year old at most.
const limitUnit = 10 * time.Millisecond

func limitOf(maxInactive time.Duration) uint32 {
	return uint32(min((max(0, maxInactive)+limitUnit-1)/limitUnit, math.MaxUint32))
}

// maxInactive is how long the session lives unused; 0: no limit.
func (s *session) maxInactive() time.Duration { return time.Duration(s.limit) * limitUnit }

// size is how many bytes names and values have.
func (s *session) size() (n int) {
	for i := range s.regs {
		n += len(s.regs[i].name()) + len(s.regs[i].value)
	}
	return n
}

// never is the instant of what has not happened. Not 0: sessions are older
// than a node that has just started, and instants before its start are negative.
const never time.Duration = -1 << 62

// find returns where the register is, or where it would be.
func (s *session) find(name string) (int, bool) {
	i := sort.Search(len(s.regs), func(i int) bool { return s.regs[i].name() >= name })
	return i, i < len(s.regs) && s.regs[i].name() == name
}

// get returns the value of the register, nil if it has none.
func (s *session) get(name string) []byte {
	if i, ok := s.find(name); ok {
		return s.regs[i].value
	}
	return nil
}

// merge keeps the newer of what is there and r. It reports whether that
// changed the session. This is the whole replication model: commutative,
// associative and idempotent, because stamps are totally ordered and unique.
func (s *session) merge(seed uint64, r register) bool {
	i, found := s.find(r.name())
	if !found {
		s.regs = append(s.regs, register{})
		copy(s.regs[i+1:], s.regs[i:])
	} else {
		old := &s.regs[i]
		if !old.stamp.Less(r.stamp) && (!mutate.Is(mutate.MergeByArrival) || old.stamp == r.stamp) {
			return false
		}
		s.hash -= old.hash(s.key, seed)
	}
	s.regs[i] = r
	s.hash += r.hash(s.key, seed)
	return true
}

// hash is the register's part of its session's hash: over key, name and stamp,
// so that equal sums mean equal state.
func (r *register) hash(k Key, seed uint64) uint64 {
	h := k.hash(seed)
	name := r.name()
	length := uint64(len(name))
	for len(name) >= 8 {
		h = mix(h ^ binary.LittleEndian.Uint64([]byte(name[:8])))
		name = name[8:]
	}
	var tail uint64
	for i := range len(name) {
		tail |= uint64(name[i]) << (8 * i)
	}
	h = mix(h ^ tail ^ length<<56)
	return mix(h ^ mix(r.stamp.Clock) + r.stamp.Boot)
}

// state is what members compare: equal states mean equal registers. A session
// that is not whole differs from one that is, even when no register does: else
// nobody would ever make it whole. One whose user came back lives longer, so it differs, too.
func (s *session) state() uint64 {
	h := s.hash
	if s.partial {
		h ^= partialHash
	}
	if s.returned {
		h ^= returnedHash
	}
	return h
}

// digest is the session's part of its bucket's sum.
func (s *session) digest(seed uint64) uint64 { return mix(s.key.hash(seed) ^ s.state()) }

// partialHash marks the state of a session that is not whole.
const partialHash = 0x9a57a1b9a57a1b5

// returnedHash marks the state of a session whose cookie came back.
const returnedHash = 0xc0feebac2c0feeba

// deadHash stands for the hash of a session that is over.
const deadHash = 0xdeadf00ddeadf00d

// deadDigest is a tombstone's part of its bucket's sum: tombstones are state
// that members must agree on like any other.
func deadDigest(k Key, seed uint64) uint64 { return mix(k.hash(seed) ^ deadHash) }

// firsthand is the newest use that this node may tell of: its own. Told on and
// on, what others have told would grow younger by the time it is on its way.
func (s *session) firsthand() time.Duration {
	if s.served == never {
		return s.last
	}
	return s.served
}

// expired tells whether the session is over for this node: at its inactive
// time where it was used last, one granule later elsewhere, since reads are
// told twice a granule only.
func (s *session) expired(now, lifetime, first time.Duration) bool {
	if lifetime > 0 && now-s.created >= lifetime {
		return true
	}
	limit := lifeUnused(s.maxInactive(), first, s.returned)
	if limit == 0 {
		return false
	}
	if s.served < s.heard+granule(limit)/2 {
		limit += granule(limit)
	}
	return now-s.last >= limit
}

// granule is how exactly the use of a session is known everywhere: a sixteenth
// of its inactive time, within 1 s and 60 s.
func granule(maxInactive time.Duration) time.Duration {
	return min(max(maxInactive/16, time.Second), time.Minute)
}
