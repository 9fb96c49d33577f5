package deltamanager

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// bucketSet is a set of buckets: 512 bytes.
type bucketSet [Buckets / 64]uint64

func (s *bucketSet) add(n int)      { s[n/64] |= 1 << (n % 64) }
func (s *bucketSet) drop(n int)     { s[n/64] &^= 1 << (n % 64) }
func (s *bucketSet) has(n int) bool { return s[n/64]&(1<<(n%64)) != 0 }
func (s *bucketSet) empty() bool    { return *s == bucketSet{} }

func (s *bucketSet) count() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// next returns the first member at or after n, -1 if there is none.
func (s *bucketSet) next(n int) int {
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

// each calls f with the members in order.
func (s *bucketSet) each(f func(n int)) {
	for n := s.next(0); n >= 0; n = s.after(n) {
		f(n)
	}
}

func (s *bucketSet) after(n int) int {
	if n+1 >= Buckets {
		return -1
	}
	return s.next(n + 1)
}

// bytes is the set on the wire; nil when empty.
func (s *bucketSet) bytes() []byte {
	if s.empty() {
		return nil
	}
	b := make([]byte, 0, Buckets/8)
	for _, w := range s {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

func parseBits(b []byte) (bucketSet, error) {
	var s bucketSet
	if len(b) != Buckets/8 {
		return s, fmt.Errorf("%w: bitmap of %d bytes", errWire, len(b))
	}
	for i := range s {
		s[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return s, nil
}

// allBuckets is the full set.
func allBuckets() bucketSet {
	var s bucketSet
	for i := range s {
		s[i] = ^uint64(0)
	}
	return s
}
