package deltamanager

import (
	"encoding/binary"
	"sort"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate"
)

// register is one named value of a session with the stamp of its last write.
// The value is never changed in place, so it may be handed out and shared.
type register struct {
	name  string // "" is the auth register, any other an attribute
	stamp Stamp
	value []byte // nil: removed
}

// authName is the name of the register that holds Auth.
const authName = ""

// session is a map of registers, sorted by name, and when it was used. It is
// guarded by the lock of its bucket.
type session struct {
	key  Key
	hash uint64 // sum of the registers' hashes
	regs []register
	size int // bytes of names and values

	// Instants on this node's monotonic clock; those of sessions that came from
	// elsewhere are this node's now minus the age that was told, so no two
	// machines' clocks are ever compared.
	created time.Duration
	last    time.Duration // newest use that is known
	served  time.Duration // newest use at this node
	told    time.Duration // newest use that the others were told by this node
	heard   time.Duration // newest use that others have told

	maxInactive time.Duration // 0: no limit
	partial     bool          // registers are known to be missing: not to be served
	removed     bool          // no longer in its bucket; look the key up again
}

// never is the instant of what has not happened. Not 0: sessions are older
// than a node that has just started, and instants before its start are negative.
const never time.Duration = -1 << 62

// find returns where the register is, or where it would be.
func (s *session) find(name string) (int, bool) {
	i := sort.Search(len(s.regs), func(i int) bool { return s.regs[i].name >= name })
	return i, i < len(s.regs) && s.regs[i].name == name
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
	i, found := s.find(r.name)
	if !found {
		s.regs = append(s.regs, register{})
		copy(s.regs[i+1:], s.regs[i:])
		s.size += len(r.name)
	} else {
		old := &s.regs[i]
		if !old.stamp.Less(r.stamp) && (!mutate.Is(mutate.MergeByArrival) || old.stamp == r.stamp) {
			return false
		}
		s.hash -= old.hash(s.key, seed)
		s.size -= len(old.value)
	}
	s.regs[i] = r
	s.size += len(r.value)
	s.hash += r.hash(s.key, seed)
	return true
}

// hash is the register's part of its session's hash: over key, name and stamp,
// so that equal sums mean equal state.
func (r *register) hash(k Key, seed uint64) uint64 {
	h := k.hash(seed)
	name := r.name
	for len(name) >= 8 {
		h = mix(h ^ binary.LittleEndian.Uint64([]byte(name[:8])))
		name = name[8:]
	}
	var tail uint64
	for i := range len(name) {
		tail |= uint64(name[i]) << (8 * i)
	}
	h = mix(h ^ tail ^ uint64(len(r.name))<<56)
	return mix(h ^ mix(r.stamp.Clock) + r.stamp.Boot)
}

// state is what members compare: equal states mean equal registers. A session
// that is not whole differs from one that is, even when no register does: else
// nobody would ever make it whole.
func (s *session) state() uint64 {
	if s.partial {
		return s.hash ^ partialHash
	}
	return s.hash
}

// digest is the session's part of its bucket's sum.
func (s *session) digest(seed uint64) uint64 { return mix(s.key.hash(seed) ^ s.state()) }

// partialHash marks the state of a session that is not whole.
const partialHash = 0x9a57a1b9a57a1b5

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
func (s *session) expired(now, lifetime time.Duration) bool {
	if lifetime > 0 && now-s.created >= lifetime {
		return true
	}
	if s.maxInactive <= 0 {
		return false
	}
	limit := s.maxInactive
	if s.served < s.heard+granule(s.maxInactive)/2 {
		limit += granule(s.maxInactive)
	}
	return now-s.last >= limit
}

// granule is how exactly the use of a session is known everywhere: a sixteenth
// of its inactive time, within 1 s and 60 s.
func granule(maxInactive time.Duration) time.Duration {
	return min(max(maxInactive/16, time.Second), time.Minute)
}
