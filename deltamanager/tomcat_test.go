package deltamanager_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/deltamanager/internal/progress"
	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	"github.com/nodeserver/nodeserver/membership"
)

// The tests TestW… each take a way in which Tomcat's cluster fails its users,
// with the numbers of the experiment that showed it, and show that it does not
// happen here. docs/RELIABILITY.md has the table; package server has more of them.

// join adds a core with a configuration of its own and connects it with all others.
func (c *cluster) join(change func(*deltamanager.Config)) int {
	i := len(c.cores)
	cfg := testConfig(membership.ID{Name: fmt.Sprintf("n%d", i+1), Incarnation: uint64(100 + i)})
	change(&cfg)
	return c.add(cfg)
}

// over lets time pass like run, until ok or for an hour, while each core can send
// each other one so many bytes a second. It tells how long it took.
func (c *cluster) over(rate int, ok func() bool) time.Duration {
	c.t.Helper()
	debt := map[[2]int]int{}
	for begin := c.now; ; c.now += 10 * time.Millisecond {
		for i, core := range c.cores {
			core.Tick(c.now)
			for j := range c.cores {
				if i != j && !c.cut[[2]int{i, j}] {
					debt[[2]int{i, j}] = max(0, debt[[2]int{i, j}]-rate/100) + c.send(i, j, rate/100-debt[[2]int{i, j}])
				}
			}
		}
		if ok() {
			return c.now - begin
		}
		if c.now-begin > time.Hour {
			c.t.Fatal("not within an hour")
		}
	}
}

// send delivers what a core has for another until that is more than so many
// bytes: what is live first.
func (c *cluster) send(i, j, limit int) (sent int) {
	c.t.Helper()
	for _, bulk := range [...]bool{false, true} {
		for sent < limit {
			p := c.cores[i].Pull(c.now, c.ids[j], bulk)
			if p == nil {
				break
			}
			sent += len(p)
			if err := c.cores[j].Receive(c.now, c.ids[i], bulk, p); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	return sent
}

// fill creates sessions 0 to n-1, each with that value.
func (c *cluster) fill(i, n int, value []byte) {
	c.t.Helper()
	for k := range n {
		if _, _, err := c.cores[i].Create(
			c.now,
			cookieHash(k),
			deltamanager.Tx{Writes: []deltamanager.Write{{Name: "v", Value: value}}},
		); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *cluster) invalidate(i int, cookie deltamanager.CookieHash) {
	c.t.Helper()
	r, _, ok := c.cores[i].Open(c.now, cookie)
	if !ok {
		c.t.Fatalf("no session %x at %v", cookie[:4], c.ids[i])
	}
	if _, err := c.cores[i].Commit(c.now, r, deltamanager.Tx{Invalidate: true}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) wantAt(i int, cookie deltamanager.CookieHash, name, value string) {
	c.t.Helper()
	if got := c.read(i, cookie, name); got != value {
		c.t.Errorf("%v has %s=%.20q, want %.20q", c.ids[i], name, got, value)
	}
}

// W2: a state transfer of more than 3 s ends a Tomcat's join with no sessions at
// all (50 000 of 2 KB), said to be complete; what is changed meanwhile is dropped.
func TestW02StateTransferMayTakeLong(t *testing.T) {
	const sessions = 50_000
	c := newCluster(t, 1)
	c.run(time.Second)
	c.fill(0, sessions, bytes.Repeat([]byte("x"), 2<<10))
	j := c.start()
	n := 0
	took := c.over(20<<20, func() bool {
		if c.cores[j].Ready() {
			return true
		}
		for range 10 { // all over the place, while the transfer is under way
			c.write(0, cookieHash(n*7919%sessions), "late", strconv.Itoa(n))
			n++
		}
		return false
	})
	if took < 3*time.Second {
		t.Fatalf("the transfer took %v only: the situation is not there", took)
	}
	if got := c.cores[j].Stats().Sessions; got != sessions {
		t.Errorf("ready with %d sessions", got)
	}
	c.run(50 * time.Millisecond)
	for k := range n {
		c.wantAt(j, cookieHash(k*7919%sessions), "late", strconv.Itoa(k))
	}
	c.wantSame()
	t.Logf("ready with %d sessions after %v, with %d writes meanwhile", sessions, took, n)
}

// W8: one session that can't be read ends a Tomcat's state transfer where it
// lies: of 22 sessions a joiner got 7, and took that for all.
func TestW08PoisonedSessionHarmsNoOther(t *testing.T) {
	c := newCluster(t, 2)
	c.run(time.Second)
	const sessions, poisoned = 22, 11
	for k := range sessions {
		tx := deltamanager.Tx{Writes: []deltamanager.Write{{Name: "v", Value: []byte{0xff, 'x', 0, byte(k)}}}} // nothing reads values here
		if k == poisoned {
			tx.Writes[0].Name = strings.Repeat("x", deltamanager.MaxName+1) // no member takes that for a delta
		}
		if _, _, err := c.cores[k%2].Create(c.now, cookieHash(k), tx); err != nil {
			t.Fatal(err)
		}
	}
	c.run(time.Second)
	j := c.start()
	c.run(time.Second)
	if !c.cores[j].Ready() {
		t.Error("one session keeps a node from being ready")
	}
	for k := range sessions {
		if k != poisoned {
			c.wantAt(j, cookieHash(k), "v", string([]byte{0xff, 'x', 0, byte(k)}))
		}
	}
	if s := c.cores[j].Stats(); s.Sessions != sessions-1 || s.Malformed == 0 {
		t.Errorf("the joiner has %d sessions, and %d that it could not read", s.Sessions, s.Malformed)
	}
	before := c.bytes
	c.run(time.Minute)
	if perSecond := (c.bytes - before) / 60; perSecond > 20_000 {
		t.Errorf("asking again for what can't be read costs %d bytes a second", perSecond)
	}
}

// W18: Tomcat compares clocks of different machines: what a node 5 s behind
// writes during a join never reaches the joiner.
func TestW18ClocksNeedNotAgree(t *testing.T) {
	c := &cluster{t: t, cut: map[[2]int]bool{}, now: time.Millisecond}
	skew := func(d time.Duration) func(*deltamanager.Config) {
		return func(cfg *deltamanager.Config) { cfg.Wall = cfg.Wall.Add(d) }
	}
	ahead, right := c.join(skew(10*time.Minute)), c.join(skew(0))
	c.run(time.Second)
	c.fill(ahead, 2000, bytes.Repeat([]byte("x"), 1000))
	c.run(3 * time.Second)
	c.wantSame()
	behind := c.join(skew(-5 * time.Second))
	n := 2000
	c.over(1<<20, func() bool {
		for _, i := range []int{ahead, right} { // new ones, and old ones
			c.create(i, n)
			c.write(i, cookieHash(n), "born", "late")
			c.write(i, cookieHash(n-2000), "v", "new")
			n++
		}
		return c.cores[behind].Ready()
	})
	if n < 2040 {
		t.Fatal("the joiner was too quick: the situation is not there")
	}
	c.run(time.Second)
	c.wantSame()
	// What was seen before writing is older, whatever the clocks say.
	for turn, i := range []int{ahead, behind, right, behind, ahead} {
		c.write(i, cookieHash(0), "v", strconv.Itoa(turn))
		c.run(50 * time.Millisecond)
		for _, core := range []int{ahead, right, behind} {
			c.wantAt(core, cookieHash(0), "v", strconv.Itoa(turn))
		}
	}
	for k := 2000; k < n; k++ {
		c.wantAt(behind, cookieHash(k), "born", "late")
		c.wantAt(behind, cookieHash(k-2000), "v", map[bool]string{true: "4", false: "new"}[k == 2000])
	}
	for i, core := range c.cores {
		if s := core.Stats(); s.FarAhead != 0 {
			t.Errorf("%v refused %d stamps", c.ids[i], s.FarAhead)
		}
	}
}

// W19: Tomcat asks one node for its state; if that dies, the joiner starts
// with nothing though others have it all.
func TestW19DonorDiesInTheMiddle(t *testing.T) {
	c := newCluster(t, 3)
	c.run(time.Second)
	c.fill(0, 9000, bytes.Repeat([]byte("x"), 1000))
	c.run(3 * time.Second)
	c.wantSame()
	j := c.start()
	c.over(1<<20, func() bool { return c.cores[j].Stats().Sessions > 3000 })
	if c.cores[j].Ready() {
		t.Fatal("ready with a third")
	}
	for i := 1; i <= j; i++ {
		c.gone(0, i)
	}
	took := c.over(1<<20, c.cores[j].Ready)
	t.Logf("ready %v after a donor's death", took)
	if got := c.cores[j].Stats().Sessions; got != 9000 || c.cores[j].Digest() != c.cores[1].Digest() {
		t.Errorf("ready with %d sessions of 9000", got)
	}
}

// W20: Tomcat's transfer in blocks moves 1000 sessions per 2 s and gives up
// after 60 s: over 30 000 sessions never arrive.
func TestW20TransferHasNoTimeLimit(t *testing.T) {
	c := newCluster(t, 2)
	c.run(time.Second)
	c.fill(0, 40_000, []byte("x"))
	c.run(3 * time.Second)
	c.wantSame()
	j := c.start()
	took := c.over(36<<10, c.cores[j].Ready) // from each of two donors
	if took < 65*time.Second {
		t.Fatalf("the transfer took %v only: the situation is not there", took)
	}
	if got := c.cores[j].Stats().Sessions; got != 40_000 {
		t.Errorf("ready with %d sessions", got)
	}
	t.Logf("ready after %v", took)
	j = c.start()
	if fast := c.over(100<<20, c.cores[j].Ready); fast > time.Second {
		t.Errorf("40 000 sessions took %v over a fast network", fast)
	}
	c.wantSame()
}

// W21: in Tomcat a late or doubled message makes a session empty, or brings
// back what was over; its own test expects three copies of what is sent once.
func TestW21LateAndDoubledPayloadsDoNothing(t *testing.T) {
	c := newCluster(t, 2)
	c.run(time.Second)
	type payload struct {
		bulk bool
		data []byte
	}
	var sent []payload
	say := func() { // everything three times
		for _, bulk := range [...]bool{false, true} {
			for p := c.cores[0].Pull(c.now, c.ids[1], bulk); p != nil; p = c.cores[0].Pull(c.now, c.ids[1], bulk) {
				for range 3 {
					if err := c.cores[1].Receive(c.now, c.ids[0], bulk, p); err != nil {
						t.Fatal(err)
					}
				}
				sent = append(sent, payload{bulk, p})
			}
		}
	}
	steps := []func(){
		func() { c.create(0, 1); c.create(0, 2) },
		func() { c.write(0, cookieHash(1), "a", "1"); c.write(0, cookieHash(2), "a", "1") },
		func() { c.write(0, cookieHash(1), "a", "2"); c.write(0, cookieHash(1), "b", "x") },
		func() { c.invalidate(0, cookieHash(2)) },
	}
	for _, step := range steps {
		step()
		say()
		c.run(20 * time.Millisecond)
		say()
	}
	c.disconnect(0, 1)
	c.connect(0, 1) // and what the state transfer says
	say()
	c.run(time.Second)
	before := c.cores[1].Stats()
	for range 3 {
		for _, p := range slices.Backward(sent) { // late, and in the wrong order
			if err := c.cores[1].Receive(c.now, c.ids[0], p.bulk, p.data); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.wantAt(1, cookieHash(1), "a", "2")
	c.wantAt(1, cookieHash(1), "b", "x")
	c.wantAt(1, cookieHash(2), "a", "<no session>")
	c.run(time.Second)
	c.wantSame()
	if s := c.cores[1].Stats(); s.Sessions != 1 || s.Repaired != before.Repaired {
		t.Errorf("%d sessions, %d repaired", s.Sessions, s.Repaired-before.Repaired)
	}
}

// W24: in Tomcat a copy has the limit of the node it is at until the first
// delta, lives twice as long where it was not used last, and for ever without a limit.
func TestW24LimitsAreTheSessionsOwn(t *testing.T) {
	c := &cluster{t: t, cut: map[[2]int]bool{}, now: time.Millisecond}
	for range 3 {
		c.join(func(cfg *deltamanager.Config) { cfg.Limits.Lifetime = 3 * time.Minute })
	}
	c.run(time.Second)
	for k, limit := range []time.Duration{20 * time.Second, time.Minute, -1} {
		r := c.create(0, k)
		if _, err := c.cores[0].Commit(c.now, r, deltamanager.Tx{MaxInactive: &limit}); err != nil {
			t.Fatal(err)
		}
	}
	used := c.now
	c.run(time.Second)
	for j := 1; j < 3; j++ {
		c.gone(0, j)
	}
	for k, limit := range []time.Duration{20 * time.Second, time.Minute, 3 * time.Minute} {
		c.run(used + limit - 100*time.Millisecond - c.now)
		for i := 1; i < 3; i++ {
			if got := c.cores[i].Stats().Sessions; got != int64(3-k) {
				t.Errorf("%v has %d sessions just before %v", c.ids[i], got, limit)
			}
		}
		c.run(100*time.Millisecond + table.Granule(limit) + 2*time.Second)
		for i := 1; i < 3; i++ {
			if _, ok := c.cores[i].Peek(c.now, cookieHash(k)); ok {
				t.Errorf("%v still has the session of %v", c.ids[i], limit)
			}
		}
		c.run(c.cores[1].SweepTime())
	}
	for i := 1; i < 3; i++ {
		if got := c.cores[i].Stats().Sessions; got != 0 {
			t.Errorf("%v has %d sessions beyond the absolute lifetime", c.ids[i], got)
		}
	}
}

// The node that is changed first in a rolling change of max_inactive has
// another limit than the rest: it joins all the same, and takes nothing from them.
func TestW24NodesOfDifferentLimits(t *testing.T) {
	c := newCluster(t, 2)
	c.run(time.Second)
	c.fill(0, 100, []byte("x"))
	c.run(3 * time.Minute)
	j := c.join(func(cfg *deltamanager.Config) { cfg.Limits.MaxInactive = 2 * time.Minute })
	c.run(2 * time.Second)
	if !c.cores[j].Ready() {
		t.Error("the node never becomes ready")
	}
	c.create(j, 100) // is used there last, so it ends there, for all
	c.run(3 * time.Minute)
	for i, want := range []int64{100, 100, 0} {
		if got := c.cores[i].Stats().Sessions; got != want {
			t.Errorf("%v has %d sessions, want %d", c.ids[i], got, want)
		}
	}
}

// W27: a Tomcat that sends its state, and one that gets it, need many times its
// size: 11.7 GB for 1 GB in one process. Here what is on the way is a few frames.
func TestW27StateTransferNeedsLittleMemory(t *testing.T) {
	const sessions, size = 3200, 20 << 10
	c := newCluster(t, 1)
	c.run(time.Second)
	c.fill(0, sessions, bytes.Repeat([]byte("x"), size)) // the donor has the value once
	j := c.start()
	live := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	live() // what earlier tests have left in pools is gone after two rounds only
	base, peak, longest, steps := live(), int64(0), 0, 0
	for ; !c.cores[j].Ready(); steps++ {
		for _, way := range [][2]int{{0, j}, {j, 0}} {
			c.cores[way[0]].Tick(c.now)
			for _, bulk := range [...]bool{false, true} {
				if p := c.cores[way[0]].Pull(c.now, c.ids[way[1]], bulk); p != nil {
					longest = max(longest, len(p))
					if err := c.cores[way[1]].Receive(c.now, c.ids[way[0]], bulk, p); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		if steps%25 == 0 {
			peak = max(peak, live()-base)
		}
		if c.now += 10 * time.Millisecond; c.now > time.Hour {
			t.Fatal("not within an hour")
		}
	}
	end := live() - base
	state := int64(sessions * size)
	t.Logf(
		"state of %d KiB: the joiner has %d KiB more live than before, %d KiB at most on the way; longest payload %d KiB",
		state>>10, end>>10, peak>>10, longest>>10,
	)
	if got := c.cores[j].Stats().Sessions; got != sessions {
		t.Errorf("ready with %d sessions", got)
	}
	if end < state || peak > state*5/4 || longest > deltamanager.FrameBytes+size+1<<10 {
		t.Error("want the state once and a quarter, at most")
	}
}

// W27, W29: what waits for a Tomcat that is slow grows without bound, and the
// tasks that serve it are lacking elsewhere. Here it costs a fixed part of the
// log, the others nothing, and repair brings what did not fit.
func TestW29SlowMemberHoldsNobodyBack(t *testing.T) {
	c := newCluster(t, 3)
	c.run(time.Second)
	c.fill(0, 1000, []byte("x"))
	c.run(time.Second)
	slow := [2]int{0, 2}
	c.cut[slow] = true // connected, but nothing is taken from us
	value := bytes.Repeat([]byte("y"), 1<<10)
	for n := range 20_000 {
		c.write(0, cookieHash(n%1000), "v", strconv.Itoa(n)+string(value))
		if n%200 == 0 {
			c.exchange(0, 1)
			c.exchange(1, 0)
		}
	}
	c.exchange(0, 1)
	for n := 19_000; n < 20_000; n++ {
		c.wantAt(1, cookieHash(n%1000), "v", strconv.Itoa(n)+string(value))
	}
	for _, l := range c.cores[0].Stats().Links {
		if l.Held > 2*progress.Window {
			t.Errorf("%d entries are held for %v", l.Held, l.ID)
		}
	}
	c.cut[slow] = false
	c.run(3 * time.Second)
	c.wantSame()
	if got := c.cores[0].Stats().Overflows; got == 0 {
		t.Error("the queue was long enough: the situation is not there")
	}
}

// A login at one node and a write under the old id at another, at once: in Tomcat they
// split the session in two. Here the login counts and the old id is dead everywhere, with
// what was written under it meanwhile: nobody can tell its user from a thief.
func TestIDChangesWhileAnotherNodeWrites(t *testing.T) {
	c := newCluster(t, 3)
	c.run(time.Second)
	c.create(0, 1)
	c.run(time.Second)
	r, _, _ := c.cores[0].Open(c.now, cookieHash(1))
	other, _, _ := c.cores[1].Open(c.now, cookieHash(1))
	if _, _, err := c.cores[0].Move(
		c.now, r, deltamanager.Identity{deltamanager.Key{9}, cookieHash(2), "ann"},
		deltamanager.Tx{Writes: []deltamanager.Write{{Name: "login", Value: []byte("x")}}},
	); err != nil {
		t.Fatal(err)
	}
	if _, err := c.cores[1].Commit(
		c.now,
		other,
		deltamanager.Tx{Writes: []deltamanager.Write{{Name: "other", Value: []byte("y")}}},
	); err != nil {
		t.Fatal(err)
	}
	c.run(time.Second)
	c.wantSame()
	for i := range c.cores {
		c.wantAt(i, cookieHash(2), "login", "x")
		c.wantAt(i, cookieHash(2), "other", "")
		c.wantAt(i, cookieHash(1), "other", "<no session>")
		if info, _ := c.cores[i].Peek(c.now, cookieHash(2)); info.Auth.Principal != "ann" {
			t.Errorf("%v has principal %q", c.ids[i], info.Auth.Principal)
		}
		if got := c.cores[i].Stats().Sessions; got != 1 {
			t.Errorf("%v has %d sessions", c.ids[i], got)
		}
	}
}

// A logout at one node while others write to the session, before and after they
// hear of it: it is over everywhere, and the writers are told.
func TestLogoutWhileOtherNodesWrite(t *testing.T) {
	c := newCluster(t, 3)
	c.run(time.Second)
	c.create(0, 1)
	c.run(time.Second)
	early, _, _ := c.cores[1].Open(c.now, cookieHash(1))
	late, _, _ := c.cores[2].Open(c.now, cookieHash(1))
	c.invalidate(0, cookieHash(1))
	if _, err := c.cores[1].Commit(
		c.now,
		early,
		deltamanager.Tx{Writes: []deltamanager.Write{{Name: "a", Value: []byte("x")}}},
	); err != nil {
		t.Fatal(err)
	}
	c.run(50 * time.Millisecond)
	if _, err := c.cores[2].Commit(
		c.now,
		late,
		deltamanager.Tx{Writes: []deltamanager.Write{{Name: "a", Value: []byte("y")}}},
	); !errors.Is(err, deltamanager.ErrGone) {
		t.Errorf("the late writer is told %v", err)
	}
	c.run(time.Second)
	c.wantSame()
	for i := range c.cores {
		c.wantAt(i, cookieHash(1), "a", "<no session>")
		if _, err := c.cores[i].Commit(c.now, early, deltamanager.Tx{}); !errors.Is(err, deltamanager.ErrGone) && i == 1 {
			t.Errorf("the early writer is told %v the next time", err)
		}
	}
}
