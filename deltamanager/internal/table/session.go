package table

import (
	"encoding/binary"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Register is one named value of a session with the stamp of its last write.
// The value is never changed in place, so it may be handed out and shared.
type Register struct {
	ID    *string // of an attribute, its name; nil: the auth register
	Stamp Stamp
	Value []byte // nil: removed
}

// authName is the name of the register that holds Auth.
const authName = ""

// Name is the register's name.
func (r *Register) Name() string {
	if r.ID == nil {
		return authName
	}
	return *r.ID
}

// Names lets registers of one name share it, in all sessions. Safe for concurrent use.
type Names struct {
	mu    sync.RWMutex
	known map[string]*string
}

// maxKnown bounds the names that are shared; beyond it sharing begins anew.
const maxKnown = 4096

// Of is the name as all registers share it; nil: that of the auth register.
func (n *Names) Of(name []byte) *string {
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

// Session is a map of registers, sorted by name, and when it was used. It is
// guarded by the lock of its bucket.
type Session struct {
	Key  Key
	hash uint64 // sum of the registers' hashes
	Regs []Register

	// Instants on this node's monotonic clock; those of sessions that came from
	// elsewhere are this node's now minus the age that was announced, so no two
	// machines' clocks are ever compared.
	Created   time.Duration
	Last      time.Duration // newest use that is known
	served    time.Duration // newest use at this node
	announced time.Duration // newest use that this node has announced
	heard     time.Duration // newest use that others have announced

	limit   uint32 // of its inactive time, in limitUnits; 0: none
	partial bool   // registers are known to be missing: not to be served
	// Its cookie has come back, or its user is logged in, or it is of no user. Once true
	// it stays true, and members agree on it as on registers.
	Returned bool
	removed  bool // no longer in its bucket; look the key up again
	moved    bool // another session goes on in its place
}

// limitUnit lets limits of 497 days fit into a session, which may be a year old at most.
const limitUnit = 10 * time.Millisecond

func limitOf(maxInactive time.Duration) uint32 {
	return uint32(min((max(0, maxInactive)+limitUnit-1)/limitUnit, math.MaxUint32))
}

// maxInactive is how long the session lives unused; 0: no limit.
func (s *Session) maxInactive() time.Duration { return time.Duration(s.limit) * limitUnit }

// attributes is how many attributes there are, removed ones included, and how many bytes
// their names and values have.
func (s *Session) attributes() (n, bytes int) {
	for i := range s.Regs {
		if name := s.Regs[i].Name(); IsAttribute(name) {
			n++
			bytes += len(name) + len(s.Regs[i].Value)
		}
	}
	return n, bytes
}

// never is the instant of what has not happened. Not 0: sessions are older
// than a node that has just started, and instants before its start are negative.
const never time.Duration = -1 << 62

// Find returns where the register is, or where it would be.
func (s *Session) Find(name string) (int, bool) {
	i := sort.Search(len(s.Regs), func(i int) bool { return s.Regs[i].Name() >= name })
	return i, i < len(s.Regs) && s.Regs[i].Name() == name
}

// Get returns the value of the register, nil if it has none.
func (s *Session) Get(name string) []byte {
	if i, ok := s.Find(name); ok {
		return s.Regs[i].Value
	}
	return nil
}

// merge keeps the newer of what is there and r. It reports whether that
// changed the session. This is the whole replication model: commutative,
// associative and idempotent, because stamps are totally ordered and unique.
func (s *Session) merge(seed uint64, r Register) bool {
	i, found := s.Find(r.Name())
	if !found {
		s.Regs = append(s.Regs, Register{})
		copy(s.Regs[i+1:], s.Regs[i:])
	} else {
		old := &s.Regs[i]
		if !old.Stamp.Less(r.Stamp) {
			return false
		}
		s.hash -= old.hash(s.Key, seed)
	}
	s.Regs[i] = r
	s.hash += r.hash(s.Key, seed)
	return true
}

// hash is the register's part of its session's hash: over key, name and stamp,
// so that equal sums mean equal state.
func (r *Register) hash(k Key, seed uint64) uint64 {
	h := k.Hash(seed)
	name := r.Name()
	length := uint64(len(name))
	for len(name) >= 8 {
		h = Mix(h ^ binary.LittleEndian.Uint64([]byte(name[:8])))
		name = name[8:]
	}
	var tail uint64
	for i := range len(name) {
		tail |= uint64(name[i]) << (8 * i)
	}
	h = Mix(h ^ tail ^ length<<56)
	return Mix(h ^ Mix(r.Stamp.Clock) + r.Stamp.Incarnation)
}

// State is what members compare: equal states mean equal registers. A session
// that is not whole differs from one that is, even when no register does: else
// no member would ever make it whole. One whose user came back lives longer, so it differs, too.
func (s *Session) State() uint64 {
	h := s.hash
	if s.partial {
		h ^= partialHash
	}
	if s.Returned {
		h ^= returnedHash
	}
	return h
}

// digest is the session's part of its bucket's sum.
func (s *Session) digest(seed uint64) uint64 { return Mix(s.Key.Hash(seed) ^ s.State()) }

// partialHash marks the state of a session that is not whole.
const partialHash = 0x9a57a1b9a57a1b5

// returnedHash marks the state of a session whose cookie came back.
const returnedHash = 0xc0feebac2c0feeba

// DeadHash stands for the hash of a session that is over.
const DeadHash = 0xdeadf00ddeadf00d

// deadDigest is a tombstone's part of its bucket's sum: tombstones are state
// that members must agree on like any other.
func deadDigest(k Key, seed uint64) uint64 { return Mix(k.Hash(seed) ^ DeadHash) }

// Firsthand is the newest use that this node may tell of: its own. Told on and
// on, what others have announced would grow younger by the time it is on its way.
func (s *Session) Firsthand() time.Duration {
	if s.served == never {
		return s.Last
	}
	return s.served
}

// Info is a copy of what is known of the session; a is its Auth.
func (s *Session) Info(a Auth) Info {
	return Info{s.Key, s.Created, s.Last, s.maxInactive(), a}
}

// Full is everything of the session. The delta is to be
// encoded before its bucket is unlocked.
func (s *Session) Full(now time.Duration) Delta {
	return Delta{Key: s.Key, Regs: s.Regs, Idle: now - s.Last, Age: now - s.Created, Full: !s.partial, Returned: s.AnnouncesReturn()}
}

// Touch notes that the session is used here now.
func (s *Session) Touch(now time.Duration) {
	s.Last = max(s.Last, now)
	s.served = s.Last
}

func (s *Session) dump() Dump {
	d := Dump{
		Key:       s.Key,
		Partial:   s.partial,
		Returned:  s.Returned,
		Created:   s.Created,
		Last:      s.Last,
		Registers: make([]DumpRegister, len(s.Regs)),
	}
	for i, r := range s.Regs {
		d.Registers[i] = DumpRegister{r.Name(), r.Stamp, r.Value}
	}
	return d
}

// CookieHash is that of the session's cookie, zero if it is not known. Unlike
// auth it allocates nothing.
func (s *Session) CookieHash() (cookie CookieHash) {
	if len(s.Regs) == 0 || s.Regs[0].ID != nil {
		return cookie
	}
	b := s.Regs[0].Value
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return cookie
		}
		if num == 1 && typ == protowire.BytesType {
			v, _ := protowire.ConsumeBytes(b[n:])
			copy(cookie[:], v)
			return cookie
		}
		m := protowire.ConsumeFieldValue(num, typ, b[n:])
		if m < 0 {
			return cookie
		}
		b = b[n+m:]
	}
	return cookie
}

// News is what the session holds that the asker lacks: nothing but its use if the copies are
// equal, this node's own writes if the asker has all of them up to some stamp, what is newer than
// what the asker lists, else everything. The delta is to be encoded
// before its bucket is unlocked.
func (s *Session) News(now time.Duration, state, since uint64, list string, self uint64) Delta {
	d := s.Full(now)
	var old func(r Register) bool
	switch {
	case state != 0 && state == s.State():
		d.Regs, d.Full = nil, false
		return d
	case since != 0:
		old = func(r Register) bool { return r.Stamp.Incarnation != self || r.Stamp.Clock <= since }
	case list != "":
		held := parseHeld(list)
		old = func(r Register) bool { return !held[nameHash(r.Name())].Less(r.Stamp) }
	default:
		return d
	}
	d.Regs, d.Full = slices.DeleteFunc(slices.Clone(s.Regs), old), false
	return d
}

// Mine tells whether this node used the session last, as far as it knows.
func (s *Session) Mine() bool { return s.served >= s.Last }

// AnnouncesReturn is whether this node announces that a session's cookie came back.
func (s *Session) AnnouncesReturn() bool { return s.Returned }

// Create puts a new session into the bucket; returned says that it need not wait for
// its cookie to come back.
func (b Bucket) Create(now time.Duration, k Key, returned bool) *Session {
	s := &Session{
		Key:       k,
		Created:   now,
		Last:      now,
		served:    now,
		announced: now,
		heard:     never,
		limit:     limitOf(b.t.limits.MaxInactive),
		Returned:  returned,
	}
	b.add(s)
	return s
}

// CreateAfter is create for a session that goes on in the place of old: its age and its
// limit go on.
func (b Bucket) CreateAfter(now time.Duration, k Key, old *Session, returned bool) *Session {
	s := &Session{
		Key: k, Created: old.Created, Last: now, served: now, announced: now, heard: never,
		limit: old.limit, Returned: old.Returned || returned,
	}
	b.add(s)
	return s
}

// Overwrite puts writes in the place of copied registers, which have the same stamp, in
// a session that no request has seen yet. It returns the writes' names.
func (b Bucket) Overwrite(s *Session, writes []Register) (changed []string) {
	for _, r := range writes {
		changed = append(changed, r.Name())
		i, found := s.Find(r.Name())
		switch {
		case found && r.Value == nil:
			b.drop(s, i)
		case found:
			s.Regs[i].Value = r.Value // the hash is over name and stamp
		case r.Value != nil:
			b.Merge(s, []Register{r}, nil)
		}
		if found && r.Name() == InactiveName {
			s.limit = limitOf(parseInactive(r.Value, b.t.limits.MaxInactive))
		}
	}
	return changed
}

// Announce notes that this node announces the session's use now.
func (s *Session) Announce(now time.Duration) { s.announced = now }

// AnnounceDue tells whether this node is to announce that the session is used, although
// nothing is written.
func (s *Session) AnnounceDue(now time.Duration) bool {
	return now-s.announced >= Granule(s.maxInactive())/2 && s.limit > 0
}

// Names lists the attributes that have a value.
func (s *Session) Names() (list []string) {
	for i := range s.Regs {
		if name := s.Regs[i].Name(); s.Regs[i].Value != nil && IsAttribute(name) {
			list = append(list, name)
		}
	}
	return list
}

// IsAttribute tells whether a register of that name is an attribute, and not the core's own.
func IsAttribute(name string) bool { return name != authName && !strings.HasPrefix(name, Reserved) }
