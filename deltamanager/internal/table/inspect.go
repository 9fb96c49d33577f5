package table

import (
	"fmt"
	"time"
)

// Info is a copy of what is known about a session beside its attributes.
type Info struct {
	Key         Key
	Created     time.Duration // on the node's monotonic clock
	LastAccess  time.Duration
	MaxInactive time.Duration // 0: no limit
	Auth        Auth
}

// Dump is a copy of one session as it is at this node, for tests and operators.
type Dump struct {
	Key       Key
	Partial   bool // registers are known to be missing
	Returned  bool // its cookie came back, or need not
	Created   time.Duration
	Last      time.Duration
	Registers []DumpRegister // by name; the first is the auth register, named ""
}

// DumpRegister is one register of a Dump. Value is nil when it was removed; it
// must not be changed.
type DumpRegister struct {
	Name  string
	Stamp Stamp
	Value []byte
}

// Dump copies all sessions, by bucket and key. Sessions that have expired and
// were not swept yet are left out.
func (t *Table) Dump(now time.Duration) []Dump {
	var out []Dump
	for n := range Buckets {
		if t.Digest(n) == 0 {
			continue
		}
		b := t.LockAt(n)
		for _, s := range b.sessions {
			if !b.Expired(s.Session, now) {
				out = append(out, s.dump())
			}
		}
		b.Unlock()
	}
	return out
}

// StampOf is the stamp of a session's register, zero if there is none.
func (t *Table) StampOf(k Key, name string) Stamp {
	b := t.Lock(k)
	defer b.Unlock()
	if s := b.Session(k); s != nil {
		if i, ok := s.Find(name); ok {
			return s.Regs[i].Stamp
		}
	}
	return Stamp{}
}

// KnowsDead tells whether the session is known here to have been invalidated.
func (t *Table) KnowsDead(k Key) bool {
	b := t.Lock(k)
	defer b.Unlock()
	return b.Buried(k)
}

// Check recomputes every sum from scratch, for tests: nothing else may run meanwhile.
func (t *Table) Check() error {
	var root uint64
	for n := range Buckets {
		sum, err := checkBucket(t, n)
		if err != nil {
			return err
		}
		root += sum
	}
	if root != t.Root() {
		return fmt.Errorf("sum of all buckets is %x, kept %x", root, t.Root())
	}
	return nil
}

func checkBucket(t *Table, n int) (sum uint64, err error) {
	b := t.LockAt(n)
	defer b.Unlock()
	for _, s := range b.sessions {
		var hash uint64
		for i := range s.Regs {
			hash += s.Regs[i].hash(s.Key, t.seed)
		}
		if hash != s.hash {
			return 0, fmt.Errorf("hash of %v is %x, kept %x", s.Key, hash, s.hash)
		}
		sum += s.digest(t.seed)
	}
	for k := range b.tombs {
		sum += deadDigest(k, t.seed)
	}
	if kept := b.sum.Load(); sum != kept {
		return 0, fmt.Errorf("sum of bucket %d is %x, kept %x", n, sum, kept)
	}
	return sum, nil
}

// Get is a register of the session as it is now, nil if it has none or has ended.
func (t *Table) Get(s *Session, name string) []byte {
	b := t.Lock(s.Key)
	defer b.Unlock()
	if now, _ := b.Current(s); now != nil {
		return now.Get(name)
	}
	return nil
}
