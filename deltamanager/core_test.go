package deltamanager_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	"github.com/nodeserver/nodeserver/membership"
)

// cluster is cores joined by perfect links: a payload is delivered in the step
// after it was pulled, unless a link is cut.
type cluster struct {
	t     testing.TB
	now   time.Duration
	cores []*deltamanager.Core
	woken []*wakings // what the cores ask their groups
	ids   []membership.ID
	cut   map[[2]int]bool
	bytes int
	tune  []func(*deltamanager.Config) // changes to testConfig
}

// wakings is a core's group, which tells of what it is asked.
type wakings struct {
	told func(to membership.ID, bulk bool)
}

func (g *wakings) Wake(to membership.ID, bulk, _ bool) {
	if g.told != nil {
		g.told(to, bulk)
	}
}

type seeded struct{ *rand.ChaCha8 }

func randomKeys(seed byte) io.Reader { return seeded{rand.NewChaCha8([32]byte{seed})} }

func testConfig(id membership.ID) deltamanager.Config {
	return deltamanager.Config{
		Self:             id,
		Limits:           deltamanager.Limits{MaxInactive: 30 * time.Minute, Lifetime: 24 * time.Hour, MaxBytes: 1 << 20},
		ChangeLogEntries: 1024,
		Heartbeat:        250 * time.Millisecond,
		RepairInterval:   10 * time.Second,
		JoinTimeout:      time.Minute,
		AckTimeout:       250 * time.Millisecond,
		Wall:             time.UnixMilli(1_700_000_000_000),
		Rand:             randomKeys(byte(id.Incarnation)),
	}
}

func newCluster(t testing.TB, n int, tune ...func(*deltamanager.Config)) *cluster {
	t.Helper()
	c := &cluster{t: t, tune: tune, cut: map[[2]int]bool{}, now: time.Millisecond}
	for range n {
		c.start()
	}
	return c
}

// start adds a core as the others are, and connects it with them.
func (c *cluster) start() int {
	i := len(c.cores)
	id := membership.ID{Name: fmt.Sprintf("n%d", i+1), Incarnation: uint64(100 + i)}
	cfg := testConfig(id)
	for _, tune := range c.tune {
		tune(&cfg)
	}
	return c.add(cfg)
}

// add adds a core and connects it with all others.
func (c *cluster) add(cfg deltamanager.Config) int {
	i, group := len(c.cores), new(wakings)
	core := deltamanager.NewCore(cfg, group)
	core.Settle()
	c.ids, c.cores, c.woken = append(c.ids, cfg.Self), append(c.cores, core), append(c.woken, group)
	for j := range i {
		c.connect(i, j)
	}
	return i
}

func (c *cluster) connect(i, j int) {
	c.cut[[2]int{i, j}], c.cut[[2]int{j, i}] = false, false
	c.cores[i].Connected(c.now, c.ids[j])
	c.cores[j].Connected(c.now, c.ids[i])
}

func (c *cluster) disconnect(i, j int) {
	c.cut[[2]int{i, j}], c.cut[[2]int{j, i}] = true, true
	c.cores[i].Disconnected(c.now, c.ids[j])
	c.cores[j].Disconnected(c.now, c.ids[i])
}

// run lets time pass in steps of 10 ms.
func (c *cluster) run(d time.Duration) {
	c.t.Helper()
	for end := c.now + d; c.now < end; c.now += 10 * time.Millisecond {
		for i, core := range c.cores {
			core.Tick(c.now)
			for j := range c.cores {
				if i != j && !c.cut[[2]int{i, j}] {
					c.exchange(i, j)
				}
			}
		}
	}
}

func (c *cluster) exchange(i, j int) {
	c.t.Helper()
	for _, bulk := range [...]bool{false, true} {
		for p := c.cores[i].Pull(c.now, c.ids[j], bulk); p != nil; p = c.cores[i].Pull(c.now, c.ids[j], bulk) {
			c.bytes += len(p)
			if err := c.cores[j].Receive(c.now, c.ids[i], bulk, p); err != nil {
				c.t.Fatalf("%v at %v from %v", err, c.ids[j], c.ids[i])
			}
		}
	}
}

func (c *cluster) create(i, n int) deltamanager.Ref {
	c.t.Helper()
	r, _, err := c.cores[i].Create(c.now, cookieHash(n), deltamanager.Tx{})
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// nameOf is a register's name.
func nameOf(name string) *string { return new(table.Names).Of([]byte(name)) }

func cookieHash(n int) deltamanager.CookieHash {
	var t deltamanager.CookieHash
	copy(t[:], fmt.Sprintf("%c%d", n%251, n))
	return t
}

func (c *cluster) write(i int, cookie deltamanager.CookieHash, name, value string) {
	c.t.Helper()
	r, _, ok := c.cores[i].Open(c.now, cookie)
	if !ok {
		c.t.Fatalf("no session %x at %v", cookie[:4], c.ids[i])
	}
	if _, err := c.cores[i].Commit(
		c.now,
		r,
		deltamanager.Tx{Writes: []deltamanager.Write{{Name: name, Value: []byte(value)}}},
	); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) read(i int, cookie deltamanager.CookieHash, name string) string {
	r, _, ok := c.cores[i].Open(c.now, cookie)
	if !ok {
		return "<no session>"
	}
	b, err := r.Get(name)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (c *cluster) wantSame() {
	c.t.Helper()
	for i, core := range c.cores {
		if core.Digest() != c.cores[0].Digest() {
			c.t.Errorf(
				"digest of %v differs from %v's: %d and %d sessions", c.ids[i], c.ids[0],
				core.Stats().Sessions, c.cores[0].Stats().Sessions,
			)
		}
		if !core.Ready() {
			c.t.Errorf("%v is not ready", c.ids[i])
		}
	}
}

// checkSums recomputes every sum from scratch.
func checkSums(t *testing.T, c *deltamanager.Core) {
	t.Helper()
	if err := c.Table().Check(); err != nil {
		t.Fatal(err)
	}
}

func loneCore(tune ...func(*deltamanager.Config)) *deltamanager.Core {
	cfg := testConfig(membership.ID{Name: "n1", Incarnation: 1})
	for _, tune := range tune {
		tune(&cfg)
	}
	c := deltamanager.NewCore(cfg, new(wakings))
	c.Settle()
	c.Tick(time.Millisecond)
	return c
}

func TestWritesReachEveryMember(t *testing.T) {
	c := newCluster(t, 3)
	c.run(time.Second)
	c.create(0, 1)
	c.write(0, cookieHash(1), "n", "1")
	c.run(50 * time.Millisecond)
	c.write(1, cookieHash(1), "m", "2")
	c.run(50 * time.Millisecond)
	for i := range c.cores {
		if n, m := c.read(i, cookieHash(1), "n"), c.read(i, cookieHash(1), "m"); n != "1" || m != "2" {
			t.Errorf("%v has n=%q m=%q", c.ids[i], n, m)
		}
	}
	c.wantSame()
	for i, core := range c.cores {
		if s := core.Stats(); s.Repairs != 0 {
			t.Errorf("%v repaired %d times in a calm run", c.ids[i], s.Repairs)
		}
	}
}

func TestSplitHealsWithoutFurtherWrites(t *testing.T) {
	c := newCluster(t, 3)
	c.run(time.Second)
	c.create(0, 1)
	c.create(2, 2)
	c.run(time.Second)
	c.disconnect(0, 2)
	c.disconnect(1, 2)
	c.write(0, cookieHash(1), "left", "x")
	c.write(2, cookieHash(1), "right", "y")
	for n := range 3000 { // more than the log holds
		c.create(0, 10+n)
	}
	if r, _, ok := c.cores[2].Open(c.now, cookieHash(2)); !ok {
		t.Fatal("session 2 is not at n3")
	} else if _, err := c.cores[2].Commit(c.now, r, deltamanager.Tx{Invalidate: true}); err != nil {
		t.Fatal(err)
	}
	c.run(10 * time.Second)
	c.connect(0, 2)
	c.connect(1, 2)
	c.run(3 * time.Second)
	c.wantSame()
	for i := range c.cores {
		if l, r := c.read(i, cookieHash(1), "left"), c.read(i, cookieHash(1), "right"); l != "x" || r != "y" {
			t.Errorf("%v has left=%q right=%q", c.ids[i], l, r)
		}
		if got := c.read(i, cookieHash(2), "n"); got != "<no session>" {
			t.Errorf("the invalidated session is back at %v", c.ids[i])
		}
	}
}

func TestJoinerGetsAllSessions(t *testing.T) {
	c := newCluster(t, 3)
	c.run(time.Second)
	for n := range 20000 {
		c.create(n%3, n)
	}
	c.run(time.Second)
	c.bytes = 0
	i := c.start()
	if c.cores[i].Ready() {
		t.Fatal("a joiner is ready before its state transfer")
	}
	c.run(2 * time.Second)
	c.wantSame()
	if got := c.cores[i].Stats().Sessions; got != 20000 {
		t.Errorf("the joiner has %d sessions", got)
	}
	if per := c.bytes / 20000; per > 180 {
		t.Errorf("the join cost %d bytes per session", per)
	}
	t.Logf("join of 20000 sessions: %d bytes", c.bytes)
}
