package table

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unsafe"
)

// nameID is a register's name.
func nameID(name string) *string { return new(Names).Of([]byte(name)) }

func newTestTable() *Table {
	return New(0, Limits{MaxInactive: 30 * time.Minute, Lifetime: 24 * time.Hour, MaxBytes: 1 << 20})
}

func checkSums(t *testing.T, tab *Table) {
	t.Helper()
	if err := tab.Check(); err != nil {
		t.Fatal(err)
	}
}

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
	deltas := make([]Delta, n)
	for i := range deltas {
		deltas[i] = mergeable(r)
	}
	a, b := newTestTable(), newTestTable()
	for i := range deltas {
		a.Apply(time.Hour, &deltas[i], Live, nil)
	}
	order := r.Perm(n)
	for _, i := range append(order, order[:n/2]...) {
		b.Apply(time.Hour, &deltas[i], Source(i%2), nil)
	}
	if a.Root() != b.Root() {
		t.Fatalf("digests differ after the same deltas in another order: %x and %x", a.Root(), b.Root())
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
func mergeable(r *rand.Rand) Delta {
	d := Delta{Key: Key{byte(r.IntN(3))}, Age: time.Duration(r.IntN(1000)) * time.Millisecond, Full: r.IntN(3) == 0}
	if r.IntN(15) == 0 {
		d.Dead = true
		return d
	}
	for _, name := range []string{"", "a", "b"} {
		clock := uint64(1+r.IntN(6)) << 16
		if name == "" {
			d.Regs = append(d.Regs, Register{nil, Stamp{clock, 1}, Auth{CookieHash: CookieHash{d.Key[0], byte(clock >> 16)}}.Encode()})
		} else if r.IntN(2) == 0 {
			incarnation := 1 + r.Uint64N(2)
			d.Regs = append(d.Regs, Register{nameID(name), Stamp{clock, incarnation}, []byte{byte(clock >> 16), byte(incarnation)}})
		}
	}
	return d
}

func TestClockOrdersAndBounds(t *testing.T) {
	c := Clock{wall: 1_700_000_000_000}
	a := c.Tick(0)
	if b := c.Tick(0); b <= a {
		t.Errorf("ticks %x then %x", a, b)
	}
	ahead := c.Physical(10 * time.Minute)
	if !c.Observe(0, ahead) || c.Tick(0) <= ahead {
		t.Errorf("a stamp ten minutes ahead was not observed")
	}
	if far := c.Physical(25 * time.Hour); c.Observe(0, far) || c.Read() >= far {
		t.Errorf("a stamp 25 h ahead was observed")
	}
	if late := c.Tick(time.Hour); late != c.Physical(time.Hour) {
		t.Errorf("the wall clock does not lead when it is ahead: %x, want %x", late, c.Physical(time.Hour))
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
	var s Set
	if s.Next(0) != -1 || !s.Empty() || s.Bytes() != nil {
		t.Errorf("an empty set has members")
	}
	want := []int{0, 63, 64, 1000, 4095}
	for _, n := range want {
		s.Add(n)
	}
	var got []int
	s.Each(func(n int) { got = append(got, n) })
	if !slices.Equal(got, want) || s.Count() != len(want) || !s.Has(64) || s.Has(65) {
		t.Errorf("members %v, want %v", got, want)
	}
	back, ok := ParseSet(s.Bytes())
	if !ok || back != s {
		t.Errorf("read %v, %v", back, ok)
	}
	s.Drop(64)
	if s.Has(64) || s.Next(64) != 1000 || s.After(4095) != -1 {
		t.Errorf("drop left %v", s)
	}
	if all := AllBuckets(); all.Count() != Buckets {
		t.Errorf("all are %d", all.Count())
	}
	if _, ok := ParseSet(make([]byte, 511)); ok {
		t.Errorf("511 bytes are a bitmap")
	}
}

func TestExpiryByAge(t *testing.T) {
	const minute = time.Minute
	for name, c := range map[string]struct {
		s    Session
		now  time.Duration
		want bool
	}{
		"used here, not yet": {
			Session{Last: 0, served: 0, heard: never, limit: limitOf(16 * minute)},
			16*minute - 1, false,
		},
		"used here, over": {Session{Last: 0, served: 0, heard: never, limit: limitOf(16 * minute)}, 16 * minute, true},
		"used elsewhere, a granule later": {
			Session{Last: 0, served: never, heard: 0, limit: limitOf(16 * minute)},
			17*minute - 1, false,
		},
		"used elsewhere, over": {Session{Last: 0, served: never, heard: 0, limit: limitOf(16 * minute)}, 17 * minute, true},
		"used here just after elsewhere": {Session{
			Last: 0, served: 0, heard: -20 * time.Second,
			limit: limitOf(16 * minute),
		}, 16*minute + 1, false},
		"used here long after elsewhere": {
			Session{Last: 0, served: 0, heard: -minute, limit: limitOf(16 * minute)},
			16 * minute, true,
		},
		"older than the node, used elsewhere": {Session{
			Created: -minute, Last: -minute, served: never, heard: -minute,
			limit: limitOf(16 * minute),
		}, 15*minute + 1, false},
		"no limit": {Session{served: never, heard: never}, 23 * time.Hour, false},
		"lifetime, however busy": {Session{
			Created: 0, Last: 24 * time.Hour, served: 24 * time.Hour,
			heard: never,
		}, 24 * time.Hour, true},
		"the shortest granule is one second": {
			Session{Last: 0, served: never, heard: 0, limit: limitOf(4 * time.Second)},
			5*time.Second - 1, false,
		},
		"the longest granule is sixty seconds": {
			Session{Last: 0, served: never, heard: 0, limit: limitOf(10 * time.Hour)},
			10*time.Hour + minute, true,
		},
	} {
		b := New(0, Limits{Lifetime: 24 * time.Hour}).LockAt(0)
		if got := b.Expired(&c.s, c.now); got != c.want {
			t.Errorf("%s: expired is %v", name, got)
		}
	}
}

func TestSessionsStayInTheirSizeClass(t *testing.T) {
	if n := unsafe.Sizeof(Session{}); n > 96 {
		t.Errorf("a session takes %d bytes: a million more than a size class of 96 is 16 MB more", n)
	}
}

// What has ended at its own time takes no room in the order.
func TestGravesAreTidied(t *testing.T) {
	tab := newTestTable()
	for i := range 5000 {
		k := Key{byte(i), byte(i >> 8)}
		b := tab.Lock(k)
		b.bury(k, tomb{until: time.Hour, rank: uint64(i)})
		if i >= 100 {
			b.forget(k)
		}
		b.Unlock()
	}
	tab.ForgetTombs()
	if n := len(tab.graves.heap); n != 100 {
		t.Errorf("%d graves for 100 tombstones", n)
	}
}

func TestTombstonesAreBounded(t *testing.T) {
	c := New(0, Limits{Lifetime: 24 * time.Hour, MaxTombs: 3})
	for i := range 5 {
		k := Key{byte(i), 2: byte(i)} // each in a bucket of its own
		b := c.Lock(k)
		b.bury(k, tomb{until: time.Hour, rank: rankOf(uint64(100-i), time.Hour)})
		b.Unlock()
	}
	c.ForgetTombs()
	if n := c.Counts(); n.Tombstones != 3 || n.Evicted != 2 {
		t.Errorf("%d tombstones, %d evicted", n.Tombstones, n.Evicted)
	}
	if !c.KnowsDead(Key{}) || c.KnowsDead(Key{4, 2: 4}) {
		t.Errorf("not those that ended first were forgotten")
	}
	checkSums(t, c)
}
