package deltamanager_test

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	"github.com/nodeserver/nodeserver/membership"
)

// What sessions cost: bytes on the wire, time and memory. The benchmarks give the
// numbers of docs/RELIABILITY.md, the tests keep them within their limits.

// twins are two cores that hold the same n sessions with an attribute of 100
// bytes, and have found so.
func twins(t testing.TB, n int) *cluster {
	t.Helper()
	c := newCluster(t, 0)
	c.join(func(*deltamanager.Config) {})
	c.join(func(*deltamanager.Config) {})
	value := bytes.Repeat([]byte("x"), 100)
	for i := range n {
		var k deltamanager.Key
		binary.LittleEndian.PutUint64(k[:], table.Mix(uint64(i)))
		binary.LittleEndian.PutUint64(k[8:], uint64(i))
		stamp := deltamanager.Stamp{Clock: 1<<56 | uint64(i), Incarnation: 7}
		d := table.Delta{
			Key:  k,
			Full: true,
			Regs: []table.Register{
				{ID: nil, Stamp: stamp, Value: deltamanager.Auth{CookieHash: cookieHash(i)}.Encode()},
				{ID: nameOf("blob"), Stamp: stamp, Value: value},
			},
		}
		for _, core := range c.cores {
			core.Apply(c.now, &d, table.Live)
		}
	}
	c.run(5 * time.Second)
	if c.cores[0].Digest() != c.cores[1].Digest() || !c.cores[0].Ready() || c.cores[0].Stats().Repairs+c.cores[1].Stats().Repairs > 0 {
		t.Fatal("the two do not begin equal")
	}
	return c
}

// heartbeatBytes is what n sessions add to a heartbeat by which two members that hold
// the same find that they do.
func heartbeatBytes(t testing.TB, n int) float64 {
	t.Helper()
	const heartbeats = 40
	var sent [2]int
	for i, sessions := range [...]int{0, n} {
		c := twins(t, sessions)
		c.bytes = 0
		c.run(heartbeats * 250 * time.Millisecond)
		sent[i] = c.bytes
	}
	return float64(sent[1]-sent[0]) / (2 * heartbeats)
}

// repairBytes is what is sent, both ways, until two members that hold n sessions
// have settled those 100 that differ.
func repairBytes(t testing.TB, n int) float64 {
	t.Helper()
	const differ = 100
	c := twins(t, n)
	c.run(2 * time.Minute)
	c.gone(0, 1)
	value := bytes.Repeat([]byte("y"), 100)
	for i := range differ {
		c.write(i%2, cookieHash(i*(n/differ)), "blob", string(value))
	}
	c.run(2 * time.Minute)
	c.connect(0, 1)
	c.bytes = 0
	c.run(2 * time.Second)
	c.wantSame()
	if got := c.cores[0].Stats().Repaired + c.cores[1].Stats().Repaired; got != differ {
		t.Fatalf("%d sessions were repaired", got)
	}
	return float64(c.bytes)
}

func TestUnchangedComparisonIsAFewBytes(t *testing.T) {
	if got := heartbeatBytes(t, 20_000); got > 16 {
		t.Errorf("sessions add %v bytes to a heartbeat", got)
	}
}

// Most of 0.7 MB at a million sessions are the lists of those that share a bucket
// with one that differs. These grow with their number, all else does not.
func TestRepairShipsLittle(t *testing.T) {
	const all, limit, fixed = 1_000_000, 700_000, 8*deltamanager.Buckets + 64<<10
	for _, n := range []int{10_000, 50_000} {
		if got, want := repairBytes(t, n), float64(fixed+(limit-fixed)*n/all); got > want {
			t.Errorf("100 of %d sessions: %v bytes, want %v at most", n, got, want)
		}
	}
}

func BenchmarkHeartbeat(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(heartbeatBytes(b, 1_000_000), "bytes/heartbeat")
	}
}

func BenchmarkRepair(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(repairBytes(b, 1_000_000), "bytes/repair")
	}
}

// BenchmarkTick is one look of an idle node at its 15 others: there are 20 a second.
func BenchmarkTick(b *testing.B) {
	for _, sessions := range []int{0, 1_000_000} {
		b.Run(strconv.Itoa(sessions), func(b *testing.B) { benchmarkTick(b, sessions) })
	}
}

func benchmarkTick(b *testing.B, sessions int) {
	b.Helper()
	c := twins(b, sessions)
	core := c.cores[0]
	members := []membership.ID{c.ids[1]}
	for i := range 14 {
		members = append(members, membership.ID{Name: "m" + strconv.Itoa(i), Incarnation: uint64(200 + i)})
		core.Connected(c.now, members[i+1])
	}
	b.ReportAllocs()
	for b.Loop() {
		c.now += deltamanager.TickEvery
		core.Tick(c.now)
		for _, id := range members {
			core.Pull(c.now, id, false)
		}
	}
}

// BenchmarkMerge is what a register costs once its session is found.
func BenchmarkMerge(b *testing.B) {
	c := twins(b, 10_000).cores[0]
	s := c.Table().ByCookie(cookieHash(1))
	bucket := c.Table().Lock(s.Key)
	defer bucket.Unlock()
	regs := []table.Register{{ID: nameOf("blob"), Stamp: deltamanager.Stamp{Clock: 1 << 57, Incarnation: 7}, Value: []byte("x")}}
	b.ReportAllocs()
	for b.Loop() {
		regs[0].Stamp.Clock++
		bucket.Merge(s, regs, nil)
	}
}

// deliver carries what the first core has for the others, and their acknowledgements.
func (c *cluster) deliver() {
	for i := 1; i < len(c.cores); i++ {
		c.exchange(0, i)
		c.exchange(i, 0)
	}
}

func heap() float64 {
	var m runtime.MemStats
	for range 3 { // what pools hold is gone after two rounds only
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// sessionBytes is what a session with an attribute of 100 bytes takes where it
// was created, and where it was received.
func sessionBytes(t testing.TB, n int) (owner, member float64) {
	t.Helper()
	c := newCluster(t, 2)
	c.run(time.Second)
	empty := heap()
	for i := range n {
		value := bytes.Repeat([]byte("x"), 100)
		if _, _, err := c.cores[0].Create(
			c.now,
			cookieHash(i),
			deltamanager.Tx{Writes: []deltamanager.Write{{Name: "blob", Value: value}}},
		); err != nil {
			t.Fatal(err)
		}
		if i%64 == 0 {
			c.deliver()
		}
	}
	c.run(time.Second)
	c.wantSame()
	both := heap()
	c.cores[1] = nil
	one := heap()
	runtime.KeepAlive(c.cores[0])
	return (one - empty) / float64(n), (both - one) / float64(n)
}

func TestSessionTakesLittleMemory(t *testing.T) {
	if owner, member := sessionBytes(t, 50_000); owner > 400 || member > 400 {
		t.Errorf("a session takes %.0f bytes where it was created, %.0f elsewhere", owner, member)
	}
}

func BenchmarkMemorySession(b *testing.B) {
	for b.Loop() {
		owner, member := sessionBytes(b, 100_000)
		b.ReportMetric(owner, "heap-B/session@owner")
		b.ReportMetric(member, "heap-B/session@member")
	}
}

// hot is a node with two members and a thousand sessions.
func hot(b *testing.B) (*cluster, []deltamanager.Ref) {
	b.Helper()
	c := newCluster(b, 3)
	c.run(time.Second)
	refs := make([]deltamanager.Ref, 1000)
	for i := range refs {
		refs[i] = c.create(0, i)
	}
	c.run(time.Second)
	return c, refs
}

// BenchmarkCommit is an increment at its owner: the commit, and an eighth of a frame
// for each of two members.
func BenchmarkCommit(b *testing.B) {
	c, refs := hot(b)
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		value := strconv.AppendInt(make([]byte, 0, 8), int64(n), 10)
		if _, err := c.cores[0].Commit(
			c.now,
			refs[n%len(refs)],
			deltamanager.Tx{Writes: []deltamanager.Write{{Name: "n", Value: value}}},
		); err != nil {
			b.Fatal(err)
		}
		if n%8 == 0 {
			c.cores[0].Pull(c.now, c.ids[1], false)
			c.cores[0].Pull(c.now, c.ids[2], false)
			c.cores[0].Confirm(c.ids[1])
			c.cores[0].Confirm(c.ids[2])
		}
	}
}

// BenchmarkReplicate is an increment from commit to acknowledgement, in frames of eight, at one
// node and two members: one op is a commit, two halves of its encoding, and two merges elsewhere.
func BenchmarkReplicate(b *testing.B) {
	c, refs := hot(b)
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		value := strconv.AppendInt(make([]byte, 0, 8), int64(n), 10)
		if _, err := c.cores[0].Commit(
			c.now,
			refs[n%len(refs)],
			deltamanager.Tx{Writes: []deltamanager.Write{{Name: "n", Value: value}}},
		); err != nil {
			b.Fatal(err)
		}
		if n%8 == 0 {
			c.deliver()
		}
		if n%64 == 0 {
			c.now += 60 * time.Millisecond
			for _, core := range c.cores {
				core.Tick(c.now)
			}
		}
	}
}

// BenchmarkReceive is an eighth of a frame of eight increments, at a member.
func BenchmarkReceive(b *testing.B) {
	c, refs := hot(b)
	var frames [][]byte
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		if len(frames) == 0 {
			b.StopTimer()
			for range 1000 {
				for range 8 {
					n++
					if _, err := c.cores[0].Commit(
						c.now,
						refs[n%len(refs)],
						deltamanager.Tx{Writes: []deltamanager.Write{{Name: "n", Value: []byte(strconv.Itoa(n))}}},
					); err != nil {
						b.Fatal(err)
					}
				}
				frames = append(frames, c.cores[0].Pull(c.now, c.ids[1], false))
				c.cores[0].Confirm(c.ids[1])
			}
			b.StartTimer()
		}
		if err := c.cores[1].Receive(c.now, c.ids[0], false, frames[0]); err != nil {
			b.Fatal(err)
		}
		frames = frames[1:]
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(8*b.N), "ns/delta")
}
