package deltamanager

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// Tests of the small pure parts, and of the model's algebra.

func TestMergeIsOneStateInAnyOrder(t *testing.T) {
	for seed := range uint64(200) {
		checkMerge(t, rand.New(rand.NewPCG(seed, 9)), 40)
	}
}

// FuzzMerge is the property over deltas and orders that the fuzzer chooses.
func FuzzMerge(f *testing.F) {
	f.Add(uint64(1), uint8(10))
	f.Fuzz(func(t *testing.T, seed uint64, n uint8) {
		checkMerge(t, rand.New(rand.NewPCG(seed, 9)), int(n%64))
	})
}

// checkMerge gives deltas of few sessions to two cores, to the second one in
// another order and some of them twice. Both must hold the same.
func checkMerge(t *testing.T, r *rand.Rand, n int) {
	t.Helper()
	deltas := make([]delta, n)
	for i := range deltas {
		deltas[i] = mergeable(r)
	}
	a, b := loneCore(), loneCore()
	for i := range deltas {
		a.apply(time.Hour, &deltas[i], false)
	}
	order := r.Perm(n)
	for _, i := range append(order, order[:n/2]...) {
		b.apply(time.Hour, &deltas[i], i%2 == 0)
	}
	if a.Digest() != b.Digest() {
		t.Fatalf("digests differ after the same deltas in another order: %x and %x", a.Digest(), b.Digest())
	}
	x, y := a.Dump(time.Hour), b.Dump(time.Hour)
	if !slices.EqualFunc(x, y, func(x, y Dump) bool {
		return x.Key == y.Key && x.Partial == y.Partial && slices.EqualFunc(x.Registers, y.Registers, func(p, q DumpRegister) bool {
			return p.Name == q.Name && p.Stamp == q.Stamp && string(p.Value) == string(q.Value)
		})
	}) {
		t.Fatalf("sessions differ:\n%v\n%v", x, y)
	}
	checkSums(t, a)
	checkSums(t, b)
}

// mergeable is a delta as a member might send it: a stamp stands for one value.
func mergeable(r *rand.Rand) delta {
	d := delta{key: Key{byte(r.IntN(3))}, age: time.Duration(r.IntN(1000)) * time.Millisecond, full: r.IntN(3) == 0}
	if r.IntN(15) == 0 {
		d.dead = true
		return d
	}
	for _, name := range []string{"", "a", "b"} {
		clock := uint64(1+r.IntN(6)) << 16
		if name == "" {
			d.regs = append(d.regs, register{nil, Stamp{clock, 1}, Auth{Tag: Tag{d.key[0], byte(clock >> 16)}}.encode()})
		} else if r.IntN(2) == 0 {
			boot := 1 + r.Uint64N(2)
			d.regs = append(d.regs, register{nameOf(name), Stamp{clock, boot}, []byte{byte(clock >> 16), byte(boot)}})
		}
	}
	return d
}

// checkSums recomputes every sum from scratch.
func checkSums(t *testing.T, c *Core) {
	t.Helper()
	var root uint64
	for i := range c.table.buckets {
		b := &c.table.buckets[i]
		var sum uint64
		for _, s := range b.sessions {
			var hash uint64
			for j := range s.regs {
				hash += s.regs[j].hash(s.key, c.table.seed)
			}
			if hash != s.hash {
				t.Fatalf("hash of %v is %x, kept %x", s.key, hash, s.hash)
			}
			sum += s.digest(c.table.seed)
		}
		for k := range b.tombs {
			sum += deadDigest(k, c.table.seed)
		}
		if sum != b.sum.Load() {
			t.Fatalf("sum of bucket %d is %x, kept %x", i, sum, b.sum.Load())
		}
		root += sum
	}
	if root != c.Digest() {
		t.Fatalf("sum of all buckets is %x, kept %x", root, c.Digest())
	}
}

func loneCore() *Core {
	c := NewCore(testConfig(membership.ID{Name: "n1", Boot: 1}), quietGroup{})
	c.Settle()
	c.Tick(time.Millisecond)
	return c
}

func TestClockOrdersAndBounds(t *testing.T) {
	c := clock{wall: 1_700_000_000_000}
	a := c.tick(0)
	if b := c.tick(0); b <= a {
		t.Errorf("ticks %x then %x", a, b)
	}
	ahead := c.physical(10 * time.Minute)
	if !c.observe(0, ahead) || c.tick(0) <= ahead {
		t.Errorf("a stamp ten minutes ahead was not observed")
	}
	if far := c.physical(25 * time.Hour); c.observe(0, far) || c.read() >= far {
		t.Errorf("a stamp 25 h ahead was observed")
	}
	if late := c.tick(time.Hour); late != c.physical(time.Hour) {
		t.Errorf("the wall clock does not lead when it is ahead: %x, want %x", late, c.physical(time.Hour))
	}
}

func TestStampsAreOrderedByClockThenBoot(t *testing.T) {
	for _, c := range []struct {
		a, b Stamp
		want bool
	}{
		{Stamp{1, 9}, Stamp{2, 1}, true},
		{Stamp{2, 1}, Stamp{1, 9}, false},
		{Stamp{1, 1}, Stamp{1, 2}, true},
		{Stamp{1, 1}, Stamp{1, 1}, false},
	} {
		if got := c.a.Less(c.b); got != c.want {
			t.Errorf("%v < %v is %v", c.a, c.b, got)
		}
	}
}

func TestBucketSets(t *testing.T) {
	var s bucketSet
	if s.next(0) != -1 || !s.empty() || s.bytes() != nil {
		t.Errorf("an empty set has members")
	}
	want := []int{0, 63, 64, 1000, 4095}
	for _, n := range want {
		s.add(n)
	}
	var got []int
	s.each(func(n int) { got = append(got, n) })
	if !slices.Equal(got, want) || s.count() != len(want) || !s.has(64) || s.has(65) {
		t.Errorf("members %v, want %v", got, want)
	}
	back, err := parseBits(s.bytes())
	if err != nil || back != s {
		t.Errorf("read %v, %v", back, err)
	}
	s.drop(64)
	if s.has(64) || s.next(64) != 1000 || s.after(4095) != -1 {
		t.Errorf("drop left %v", s)
	}
	if all := allBuckets(); all.count() != Buckets {
		t.Errorf("all are %d", all.count())
	}
	if _, err := parseBits(make([]byte, 511)); err == nil {
		t.Errorf("511 bytes are a bitmap")
	}
}

func TestExpiryByAge(t *testing.T) {
	const minute = time.Minute
	for name, c := range map[string]struct {
		s    session
		now  time.Duration
		want bool
	}{
		"used here, not yet":                   {session{last: 0, served: 0, heard: never, limit: limitOf(16 * minute)}, 16*minute - 1, false},
		"used here, over":                      {session{last: 0, served: 0, heard: never, limit: limitOf(16 * minute)}, 16 * minute, true},
		"used elsewhere, a granule later":      {session{last: 0, served: never, heard: 0, limit: limitOf(16 * minute)}, 17*minute - 1, false},
		"used elsewhere, over":                 {session{last: 0, served: never, heard: 0, limit: limitOf(16 * minute)}, 17 * minute, true},
		"used here just after elsewhere":       {session{last: 0, served: 0, heard: -20 * time.Second, limit: limitOf(16 * minute)}, 16*minute + 1, false},
		"used here long after elsewhere":       {session{last: 0, served: 0, heard: -minute, limit: limitOf(16 * minute)}, 16 * minute, true},
		"older than the node, used elsewhere":  {session{created: -minute, last: -minute, served: never, heard: -minute, limit: limitOf(16 * minute)}, 15*minute + 1, false},
		"no limit":                             {session{served: never, heard: never}, 23 * time.Hour, false},
		"lifetime, however busy":               {session{created: 0, last: 24 * time.Hour, served: 24 * time.Hour, heard: never}, 24 * time.Hour, true},
		"the shortest granule is one second":   {session{last: 0, served: never, heard: 0, limit: limitOf(4 * time.Second)}, 5*time.Second - 1, false},
		"the longest granule is sixty seconds": {session{last: 0, served: never, heard: 0, limit: limitOf(10 * time.Hour)}, 10*time.Hour + minute, true},
	} {
		if got := c.s.expired(c.now, 24*time.Hour, 0); got != c.want {
			t.Errorf("%s: expired is %v", name, got)
		}
	}
}

func TestLatenessIsWhatExceedsTheFastest(t *testing.T) {
	var g lag
	for i, c := range []struct {
		now          time.Duration
		ours, theirs uint32
		want         time.Duration
	}{
		{time.Second, 5000, 1000, 0},                                      // first: the offset is taken to be 4000
		{time.Second, 5100, 1100, 0},                                      //
		{2 * time.Second, 9100, 2000, 3100 * time.Millisecond},            // held back for 3.1 s
		{2 * time.Second, 6990, 3000, 0},                                  // faster: 3990
		{3 * time.Second, 7000, 3000, 10 * time.Millisecond},              //
		{1003 * time.Second, 1007000, 1002900, 10 * time.Millisecond},     // 100 ppm of drift in 1000 s
		{1004 * time.Second, 3, 1<<32 - 4087, 0},                          // both counters wrap
		{1005 * time.Second, 1003, 1<<32 - 4087, 1000 * time.Millisecond}, //
	} {
		if got := g.late(c.now, c.ours, c.theirs); got != c.want {
			t.Errorf("message %d is %v late, want %v", i, got, c.want)
		}
	}
}

func TestTombstonesAreBounded(t *testing.T) {
	cfg := testConfig(membership.ID{Name: "n1", Boot: 1})
	cfg.MaxTombstones = 3
	c := NewCore(cfg, quietGroup{})
	for i := range 5 {
		k := Key{byte(i), 2: byte(i)} // each in a bucket of its own
		b := c.table.of(k)
		b.mu.Lock()
		c.table.bury(b, k, tomb{until: time.Hour, rank: rankOf(uint64(100-i), time.Hour)})
		b.mu.Unlock()
	}
	c.Tick(0)
	s := c.Stats()
	if s.Tombstones != 3 || s.TombstonesEvicted != 2 {
		t.Errorf("%d tombstones, %d evicted", s.Tombstones, s.TombstonesEvicted)
	}
	if !c.Dead(Key{}) || c.Dead(Key{4, 2: 4}) {
		t.Errorf("not those that ended first were forgotten")
	}
	checkSums(t, c)
}

func TestDealGivesEachBucketToOneDonor(t *testing.T) {
	var d deal
	a, b := &link{}, &link{}
	first, again, other := d.take(1, a), d.take(1, a), d.take(1, b)
	if !first || !again || other {
		t.Errorf("a bucket was dealt to two donors")
	}
	d.release(a)
	if !d.take(1, b) {
		t.Errorf("a dead donor's bucket is not dealt again")
	}
	d.finish(1)
	if done := d.finished(); !done.has(1) {
		t.Errorf("a finished bucket is not done")
	}
	d.reset()
	if done := d.finished(); !done.empty() {
		t.Errorf("reset leaves what is done")
	}
}

func TestKeysAsText(t *testing.T) {
	k := Key{1, 2, 255}
	if back, err := ParseKey(k.String()); err != nil || back != k {
		t.Errorf("read %v, %v", back, err)
	}
	for _, bad := range []string{"", "0", k.String() + "00", k.String()[:31] + "g", string(make([]byte, 100))} {
		if _, err := ParseKey(bad); err == nil {
			t.Errorf("%q is a key", bad)
		}
	}
}
