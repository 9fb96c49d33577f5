package table

import (
	"encoding/binary"
	"math/bits"
)

// Set is a set of buckets: 512 bytes.
type Set [Buckets / 64]uint64

// Add puts a bucket in.
func (s *Set) Add(n int) { s[n/64] |= 1 << (n % 64) }

// Drop takes a bucket out.
func (s *Set) Drop(n int) { s[n/64] &^= 1 << (n % 64) }

// Has tells whether the bucket is in the set.
func (s *Set) Has(n int) bool { return s[n/64]&(1<<(n%64)) != 0 }

// Empty tells whether no bucket is in the set.
func (s *Set) Empty() bool { return *s == Set{} }

// Count is how many buckets are in the set.
func (s *Set) Count() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// Next returns the first member at or after n, -1 if there is none.
func (s *Set) Next(n int) int {
	for i := n / 64; i < len(s); i++ {
		w := s[i]
		if i == n/64 {
			w &= ^uint64(0) << (n % 64)
		}
		if w != 0 {
			return i*64 + bits.TrailingZeros64(w)
		}
	}
	return -1
}

// Each calls f with the members in order.
func (s *Set) Each(f func(n int)) {
	for n := s.Next(0); n >= 0; n = s.After(n) {
		f(n)
	}
}

// After is Next for those after n.
func (s *Set) After(n int) int {
	if n+1 >= Buckets {
		return -1
	}
	return s.Next(n + 1)
}

// Bytes is the set on the wire; nil when empty.
func (s *Set) Bytes() []byte {
	if s.Empty() {
		return nil
	}
	b := make([]byte, 0, Buckets/8)
	for _, w := range s {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// ParseSet reads what bytes wrote; false: it is no such thing.
func ParseSet(b []byte) (s Set, ok bool) {
	if len(b) != Buckets/8 {
		return s, false
	}
	for i := range s {
		s[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return s, true
}

// AllBuckets is the full set.
func AllBuckets() Set {
	var s Set
	for i := range s {
		s[i] = ^uint64(0)
	}
	return s
}
