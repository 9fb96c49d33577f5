package wire

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
)

// Repair is session.v1.Repair: exactly one of its parts is set.
type Repair struct {
	Clock    uint64
	SentMS   uint32
	Compare  *Compare
	Differ   *Differ
	Fetch    *Fetch
	Sessions *Sessions
}

// Compare is session.v1.Compare: sums of buckets.
type Compare struct {
	Request uint64
	Sums    []byte
	Buckets []byte // bitmap; empty: all
}

// Differ is session.v1.Differ: which of them differ.
type Differ struct {
	Request uint64
	Buckets []byte // bitmap; empty: none
	Epoch   uint64
}

// Fetch is session.v1.Fetch: what is here of some buckets, for what is not.
type Fetch struct {
	Request uint64
	Buckets []int
	Listing []byte
	Keys    []byte
}

// Sessions is session.v1.Sessions: the answer to Fetch, or sessions that were not asked for.
type Sessions struct {
	Request uint64
	Deltas  [][]byte // received: encoded, without cookie hash
	Encoded []byte   // to send: encoded, with cookie hashes
	Wants   []byte
	Done    int
	Asks    []uint64 // questions of frames that this answers
	Refused bool     // as in replyMessage
}

// Encode encodes the message.
func (m *Repair) Encode() []byte {
	b := appendFixed64(nil, 1, m.Clock)
	b = appendVarint(b, 2, uint64(m.SentMS))
	var num protowire.Number
	var body []byte
	switch {
	case m.Compare != nil:
		num, body = 3, appendVarint(nil, 1, m.Compare.Request)
		body = appendBytes(body, 2, m.Compare.Sums)
		body = appendBytes(body, 3, m.Compare.Buckets)
	case m.Differ != nil:
		num, body = 4, appendVarint(nil, 1, m.Differ.Request)
		body = appendBytes(body, 2, m.Differ.Buckets)
		body = appendVarint(body, 3, m.Differ.Epoch)
	case m.Fetch != nil:
		num, body = 5, appendVarint(nil, 1, m.Fetch.Request)
		var list []byte
		for _, n := range m.Fetch.Buckets {
			list = protowire.AppendVarint(list, uint64(n))
		}
		body = appendBytes(body, 2, list)
		body = appendBytes(body, 3, m.Fetch.Listing)
		body = appendBytes(body, 4, m.Fetch.Keys)
	case m.Sessions != nil:
		num, body = 6, appendVarint(nil, 1, m.Sessions.Request)
		body = append(body, m.Sessions.Encoded...)
		body = appendBytes(body, 3, m.Sessions.Wants)
		body = appendVarint(body, 4, uint64(m.Sessions.Done))
		for _, n := range m.Sessions.Asks {
			body = appendVarint(body, 5, n)
		}
		body = appendVarint(body, 6, protowire.EncodeBool(m.Sessions.Refused))
	}
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendBytes(b, body)
}

// ParseRepair reads a message. Its bytes are parts of b.
func ParseRepair(b []byte) (Repair, error) {
	var m Repair
	parts := 0
	err := fields(b, func(num protowire.Number, v uint64, data []byte) error {
		if num >= 3 && num <= 6 {
			if parts++; parts > 1 {
				return fmt.Errorf("%w: two parts in one", ErrMalformed)
			}
		}
		switch num {
		case 1:
			m.Clock = v
		case 2:
			m.SentMS = uint32(v)
		case 3:
			m.Compare = new(Compare)
			return m.Compare.parse(data)
		case 4:
			m.Differ = new(Differ)
			return m.Differ.parse(data)
		case 5:
			m.Fetch = new(Fetch)
			return m.Fetch.parse(data)
		case 6:
			m.Sessions = new(Sessions)
			return m.Sessions.parse(data)
		}
		return nil
	})
	return m, err
}

func (r *Compare) parse(b []byte) error {
	err := fields(b, func(num protowire.Number, v uint64, data []byte) error {
		switch num {
		case 1:
			r.Request = v
		case 2:
			r.Sums = data
		case 3:
			r.Buckets = data
		}
		return nil
	})
	if err != nil {
		return err
	}
	want := table.Buckets
	if len(r.Buckets) > 0 {
		set, ok := table.ParseSet(r.Buckets)
		if !ok {
			return errBitmap(r.Buckets)
		}
		want = set.Count()
	}
	if len(r.Sums) != 8*want {
		return fmt.Errorf("%w: %d bytes of sums for %d buckets", ErrMalformed, len(r.Sums), want)
	}
	return nil
}

func (r *Differ) parse(b []byte) error {
	return fields(b, func(num protowire.Number, v uint64, data []byte) error {
		switch num {
		case 1:
			r.Request = v
		case 2:
			r.Buckets = data
			if len(data) > 0 {
				if _, ok := table.ParseSet(data); !ok {
					return errBitmap(data)
				}
			}
		case 3:
			r.Epoch = v
		}
		return nil
	})
}

func (r *Fetch) parse(b []byte) error {
	return fields(b, func(num protowire.Number, v uint64, data []byte) error {
		switch num {
		case 1:
			r.Request = v
		case 2:
			for len(data) > 0 {
				v, n := protowire.ConsumeVarint(data)
				if n < 0 || v >= table.Buckets || len(r.Buckets) >= maxFetch {
					return fmt.Errorf("%w: bucket list", ErrMalformed)
				}
				r.Buckets = append(r.Buckets, int(v))
				data = data[n:]
			}
		case 3:
			r.Listing = data
			if len(data)%ListingEntry != 0 {
				return fmt.Errorf("%w: listing of %d bytes", ErrMalformed, len(data))
			}
		case 4:
			r.Keys = data
			return checkKeys(data)
		}
		return nil
	})
}

func (r *Sessions) parse(b []byte) error {
	return fields(b, func(num protowire.Number, v uint64, data []byte) error {
		switch num {
		case 1:
			r.Request = v
		case 2:
			return appendRaw(&r.Deltas, data)
		case 3:
			r.Wants = data
			return checkKeys(data)
		case 4:
			r.Done = int(min(v, table.Buckets))
		case 5:
			if len(r.Asks) >= MaxAsks {
				return fmt.Errorf("%w: over %d questions answered", ErrMalformed, MaxAsks)
			}
			r.Asks = append(r.Asks, v)
		case 6:
			r.Refused = v != 0
		}
		return nil
	})
}

func errBitmap(b []byte) error { return fmt.Errorf("%w: bitmap of %d bytes", ErrMalformed, len(b)) }

func checkKeys(b []byte) error {
	if len(b)%len(table.Key{}) != 0 {
		return fmt.Errorf("%w: keys of %d bytes", ErrMalformed, len(b))
	}
	return nil
}

// EachKey calls f with every key of a list made of 16-byte keys.
func EachKey(b []byte, f func(table.Key)) {
	for ; len(b) >= 16; b = b[16:] {
		f(table.Key(b[:16]))
	}
}

// ListingEntry is the size of a session in a listing: key, then hash.
const ListingEntry = 24

// AppendListing adds a session and its state to a listing.
func AppendListing(b []byte, k table.Key, hash uint64) []byte {
	b = append(b, k[:]...)
	return binary.LittleEndian.AppendUint64(b, hash)
}

// ParseListing reads a listing into a map.
func ParseListing(b []byte) map[table.Key]uint64 {
	if len(b) == 0 {
		return nil
	}
	m := make(map[table.Key]uint64, len(b)/ListingEntry)
	for ; len(b) >= ListingEntry; b = b[ListingEntry:] {
		m[table.Key(b[:16])] = binary.LittleEndian.Uint64(b[16:])
	}
	return m
}
