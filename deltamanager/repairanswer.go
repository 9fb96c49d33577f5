package deltamanager

import (
	"encoding/binary"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	"github.com/nodeserver/nodeserver/deltamanager/internal/wire"
)

func (c *repairer) answerCompare(now time.Duration, l *locked, q *wire.Compare) []byte {
	set := table.AllBuckets()
	if len(q.Buckets) > 0 {
		set, _ = table.ParseSet(q.Buckets) // checked when it came
	}
	var differ table.Set
	sums := q.Sums
	set.Each(func(n int) {
		if c.table.Digest(n) != binary.LittleEndian.Uint64(sums) {
			differ.Add(n)
		}
		sums = sums[8:]
	})
	return c.finishRepair(now, &wire.Repair{Differ: &wire.Differ{Request: q.Request, Buckets: differ.Bytes(), Epoch: l.out.Epoch()}})
}

// answerFetch ships what the asker lacks of the buckets, and says what is
// lacking here.
func (c *repairer) answerFetch(now time.Duration, q *wire.Fetch) []byte {
	a := &wire.Sessions{Request: q.Request}
	theirs := wire.ParseListing(q.Listing)
	a.Encoded = make([]byte, 0, c.guess(q.Buckets))
	for _, n := range q.Buckets {
		if !c.answerBucket(now, n, theirs, q.Listing, a) {
			break
		}
		a.Done++
	}
	wire.EachKey(q.Keys, func(k Key) {
		if len(a.Encoded) < frameBytes {
			a.Encoded = c.appendWhole(a.Encoded, wire.InSessions, now, k)
		}
	})
	return c.finishRepair(now, &wire.Repair{Sessions: a})
}

// guess is how long an answer about all of these buckets is, more or less.
func (c *repairer) guess(buckets []int) (size int) {
	const most, session = frameBytes + 16<<10, 160
	for _, n := range buckets {
		size += session * c.table.SessionsIn(n)
		if size >= most {
			return most
		}
	}
	return size
}

// answerBucket adds what differs in one bucket. False: the message is full.
func (c *repairer) answerBucket(now time.Duration, n int, theirs map[Key]uint64, listing []byte, a *wire.Sessions) bool {
	b := c.table.LockAt(n)
	defer b.Unlock()
	for s := range b.All() {
		if len(a.Encoded) >= frameBytes {
			return false
		}
		hash, listed := theirs[s.Key]
		if listed && hash == s.State() || b.Expired(s, now) {
			continue
		}
		if listed {
			a.Wants = append(a.Wants, s.Key[:]...)
		}
		if hash != table.DeadHash {
			d := s.Full(now)
			a.Encoded = wire.AppendDelta(a.Encoded, 2, &d, c.cfg.Self.Incarnation)
		}
	}
	for _, k := range b.Dead() {
		if theirs[k] != table.DeadHash {
			d, _ := b.DeadDelta(now, k)
			a.Encoded = wire.AppendDelta(a.Encoded, 2, &d, c.cfg.Self.Incarnation)
		}
	}
	for ; len(listing) > 0; listing = listing[wire.ListingEntry:] {
		k := Key(listing[:16])
		if k.Bucket() == n && b.Session(k) == nil && !b.Buried(k) {
			a.Wants = append(a.Wants, k[:]...)
		}
	}
	return true
}

// appendWhole encodes all there is to say of a session, if anything.
func (c *base) appendWhole(body []byte, field protowire.Number, now time.Duration, k Key) []byte {
	b := c.table.Lock(k)
	defer b.Unlock()
	d, ok := b.Whole(now, k)
	if !ok {
		return body
	}
	return wire.AppendDelta(body, field, &d, c.cfg.Self.Incarnation)
}
