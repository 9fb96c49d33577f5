package deltamanager

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
)

// repairMessage is session.v1.Repair: exactly one of its parts is set.
type repairMessage struct {
	clock    uint64
	sentMS   uint32
	compare  *compareRequest
	differ   *differReply
	fetch    *fetchRequest
	sessions *sessionsReply
}

type compareRequest struct {
	request uint64
	sums    []byte
	buckets []byte // bitmap; empty: all
}

type differReply struct {
	request uint64
	buckets []byte // bitmap; empty: none
	epoch   uint64
}

type fetchRequest struct {
	request uint64
	buckets []int
	listing []byte
	keys    []byte
}

type sessionsReply struct {
	request uint64
	deltas  [][]byte // received: encoded, without tag
	encoded []byte   // to send: encoded, with tags
	wants   []byte
	done    int
	asks    []uint64 // questions of frames that this answers
	refused bool     // as in replyMessage
}

func (m *repairMessage) encode() []byte {
	b := appendFixed64(nil, 1, m.clock)
	b = appendVarint(b, 2, uint64(m.sentMS))
	var num protowire.Number
	var body []byte
	switch {
	case m.compare != nil:
		num, body = 3, appendVarint(nil, 1, m.compare.request)
		body = appendBytes(body, 2, m.compare.sums)
		body = appendBytes(body, 3, m.compare.buckets)
	case m.differ != nil:
		num, body = 4, appendVarint(nil, 1, m.differ.request)
		body = appendBytes(body, 2, m.differ.buckets)
		body = appendVarint(body, 3, m.differ.epoch)
	case m.fetch != nil:
		num, body = 5, appendVarint(nil, 1, m.fetch.request)
		var list []byte
		for _, n := range m.fetch.buckets {
			list = protowire.AppendVarint(list, uint64(n))
		}
		body = appendBytes(body, 2, list)
		body = appendBytes(body, 3, m.fetch.listing)
		body = appendBytes(body, 4, m.fetch.keys)
	case m.sessions != nil:
		num, body = 6, appendVarint(nil, 1, m.sessions.request)
		body = append(body, m.sessions.encoded...)
		body = appendBytes(body, 3, m.sessions.wants)
		body = appendVarint(body, 4, uint64(m.sessions.done))
		for _, n := range m.sessions.asks {
			body = appendVarint(body, 5, n)
		}
		body = appendVarint(body, 6, protowire.EncodeBool(m.sessions.refused))
	}
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendBytes(b, body)
}

func parseRepair(b []byte) (repairMessage, error) {
	var m repairMessage
	parts := 0
	err := fields(b, func(num protowire.Number, v uint64, data []byte) error {
		if num >= 3 && num <= 6 {
			if parts++; parts > 1 {
				return fmt.Errorf("%w: two parts in one", errWire)
			}
		}
		switch num {
		case 1:
			m.clock = v
		case 2:
			m.sentMS = uint32(v)
		case 3:
			m.compare = new(compareRequest)
			return m.compare.parse(data)
		case 4:
			m.differ = new(differReply)
			return m.differ.parse(data)
		case 5:
			m.fetch = new(fetchRequest)
			return m.fetch.parse(data)
		case 6:
			m.sessions = new(sessionsReply)
			return m.sessions.parse(data)
		}
		return nil
	})
	return m, err
}

func (r *compareRequest) parse(b []byte) error {
	err := fields(b, func(num protowire.Number, v uint64, data []byte) error {
		switch num {
		case 1:
			r.request = v
		case 2:
			r.sums = data
		case 3:
			r.buckets = data
		}
		return nil
	})
	if err != nil {
		return err
	}
	want := Buckets
	if len(r.buckets) > 0 {
		set, ok := table.ParseSet(r.buckets)
		if !ok {
			return errBitmap(r.buckets)
		}
		want = set.Count()
	}
	if len(r.sums) != 8*want {
		return fmt.Errorf("%w: %d bytes of sums for %d buckets", errWire, len(r.sums), want)
	}
	return nil
}

func (r *differReply) parse(b []byte) error {
	return fields(b, func(num protowire.Number, v uint64, data []byte) error {
		switch num {
		case 1:
			r.request = v
		case 2:
			r.buckets = data
			if len(data) > 0 {
				if _, ok := table.ParseSet(data); !ok {
					return errBitmap(data)
				}
			}
		case 3:
			r.epoch = v
		}
		return nil
	})
}

func (r *fetchRequest) parse(b []byte) error {
	return fields(b, func(num protowire.Number, v uint64, data []byte) error {
		switch num {
		case 1:
			r.request = v
		case 2:
			for len(data) > 0 {
				v, n := protowire.ConsumeVarint(data)
				if n < 0 || v >= Buckets || len(r.buckets) >= maxFetch {
					return fmt.Errorf("%w: bucket list", errWire)
				}
				r.buckets = append(r.buckets, int(v))
				data = data[n:]
			}
		case 3:
			r.listing = data
			if len(data)%listingEntry != 0 {
				return fmt.Errorf("%w: listing of %d bytes", errWire, len(data))
			}
		case 4:
			r.keys = data
			return checkKeys(data)
		}
		return nil
	})
}

func (r *sessionsReply) parse(b []byte) error {
	return fields(b, func(num protowire.Number, v uint64, data []byte) error {
		switch num {
		case 1:
			r.request = v
		case 2:
			return appendRaw(&r.deltas, data)
		case 3:
			r.wants = data
			return checkKeys(data)
		case 4:
			r.done = int(min(v, Buckets))
		case 5:
			if len(r.asks) >= maxAsks {
				return fmt.Errorf("%w: over %d questions answered", errWire, maxAsks)
			}
			r.asks = append(r.asks, v)
		case 6:
			r.refused = v != 0
		}
		return nil
	})
}

func errBitmap(b []byte) error { return fmt.Errorf("%w: bitmap of %d bytes", errWire, len(b)) }

func checkKeys(b []byte) error {
	if len(b)%len(Key{}) != 0 {
		return fmt.Errorf("%w: keys of %d bytes", errWire, len(b))
	}
	return nil
}

// eachKey calls f with every key of a list made of 16-byte keys.
func eachKey(b []byte, f func(Key)) {
	for ; len(b) >= 16; b = b[16:] {
		f(Key(b[:16]))
	}
}

// listingEntry is the size of a session in a listing: key, then hash.
const listingEntry = 24

func appendListing(b []byte, k Key, hash uint64) []byte {
	b = append(b, k[:]...)
	return binary.LittleEndian.AppendUint64(b, hash)
}

// parseListing reads a listing into a map.
func parseListing(b []byte) map[Key]uint64 {
	if len(b) == 0 {
		return nil
	}
	m := make(map[Key]uint64, len(b)/listingEntry)
	for ; len(b) >= listingEntry; b = b[listingEntry:] {
		m[Key(b[:16])] = binary.LittleEndian.Uint64(b[16:])
	}
	return m
}
