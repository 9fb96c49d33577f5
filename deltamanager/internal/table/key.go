package table

import (
	"encoding/binary"
	"encoding/hex"
)

// Buckets is the number of parts the sessions of an app are divided into. A
// bucket is lock stripe, digest cell and unit of repair at once.
const Buckets = 4096

// Key is the internal name of a session: 128 random bits, never reused, stable
// over changes of id. It is safe to log and useless as a cookie.
type Key [16]byte

// CookieHash is the first half of the SHA-256 of the id in a user's cookie: it finds a
// session and can't be turned back into the id.
type CookieHash [16]byte

// String is the key in hex, 32 digits.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// Bucket is where the key lies. Keys are random, so twelve of their bits are a hash.
func (k Key) Bucket() int { return int(binary.LittleEndian.Uint16(k[:]) % Buckets) }

// Mix scatters a word over all 64 bits (the finalizer of SplitMix64, Steele et al. 2014).
func Mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// Hash is the key as one word, under the cluster's seed.
func (k Key) Hash(seed uint64) uint64 {
	lo, hi := binary.LittleEndian.Uint64(k[:]), binary.LittleEndian.Uint64(k[8:])
	return Mix(Mix(lo^seed) + hi)
}
