package deltamanager_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
)

// newcomersCluster is a cluster of n with these limits.
func newcomersCluster(t *testing.T, n int, first time.Duration, newcomers, all int) *cluster {
	t.Helper()
	c := newCluster(t, n, func(cfg *deltamanager.Config) {
		cfg.Limits.FirstInactive, cfg.Limits.MaxNewcomers, cfg.Limits.MaxSessions = first, newcomers, all
	})
	c.run(time.Second)
	return c
}

func (c *cluster) has(i, n int) bool {
	_, ok := c.cores[i].Peek(c.now, cookieHash(n))
	return ok
}

// A session whose cookie never comes back lives for first_inactive; any other one
// for max_inactive, whichever node its user came back to.
func TestSessionsNobodyComesBackToEndEarly(t *testing.T) {
	const first = 2 * time.Minute
	c := newcomersCluster(t, 3, first, 0, 0)
	for n := range 5 {
		c.create(0, n)
	}
	if _, _, err := c.cores[0].Create(c.now, cookieHash(5), deltamanager.Tx{Principal: "ann"}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.cores[0].Create(c.now, cookieHash(6), deltamanager.Tx{Returned: true}); err != nil {
		t.Fatal(err)
	}
	c.run(time.Minute)
	c.read(1, cookieHash(1), "")        // elsewhere, and nothing is written
	c.write(0, cookieHash(2), "a", "x") // here
	r := c.create(0, 7)                 // by a request that goes on, and logs in
	c.run(100 * time.Millisecond)
	if _, _, err := c.cores[0].Move(
		c.now, r, deltamanager.Identity{Key: deltamanager.Key{9}, CookieHash: cookieHash(7), Principal: "bob"},
		deltamanager.Tx{},
	); err != nil {
		t.Fatal(err)
	}
	c.run(first - time.Minute - 2*time.Second)
	for n := range 8 {
		if !c.has(0, n) {
			t.Errorf("session %d ended early", n)
		}
	}
	c.wantSame()
	c.run(2*time.Second + 2*table.Granule(first) + c.cores[0].SweepTime())
	for i, core := range c.cores {
		for n, want := range []bool{false, true, true, false, false, true, true, true} {
			if c.has(i, n) != want {
				t.Errorf("session %d is at %v: %v", n, c.ids[i], !want)
			}
		}
		if s := core.Stats(); s.Sessions != 5 || s.Newcomers != 0 {
			t.Errorf("%v: %d sessions, %d newcomers", c.ids[i], s.Sessions, s.Newcomers)
		}
		checkSums(t, core)
	}
	c.wantSame()
}

// A user comes back to one node while another, that can't hear of it, gives the session up.
func TestComingBackBeatsAnEndElsewhere(t *testing.T) {
	c := newcomersCluster(t, 2, 5*time.Second, 0, 0)
	c.create(0, 1)
	c.run(200 * time.Millisecond) // within what an expiry allows for messages on their way
	c.disconnect(0, 1)
	c.write(1, cookieHash(1), "a", "x")
	c.run(8 * time.Second)
	if c.has(0, 1) {
		t.Fatal("the session did not end where nobody came back to it")
	}
	c.connect(0, 1)
	c.run(3 * time.Second)
	if got := c.read(0, cookieHash(1), "a"); got != "x" || !c.has(1, 1) {
		t.Errorf("after the split it is %q at n1, at n2: %v", got, c.has(1, 1))
	}
	c.wantSame()
}

// Members that disagree on nothing but whether a cookie came back find that out.
func TestRepairTellsOfComingBack(t *testing.T) {
	c := newcomersCluster(t, 2, time.Minute, 0, 0)
	c.create(0, 1)
	c.run(time.Second)
	s := c.cores[0].Table().ByCookie(cookieHash(1))
	b := c.cores[0].Table().Lock(s.Key)
	b.ComeBack(s) // and no delta says so
	b.Unlock()
	c.run(25 * time.Second)
	c.wantSame()
	if s := c.cores[1].Table().ByCookie(cookieHash(1)); !s.Returned {
		t.Error("repair has not told that the cookie came back")
	}
}

// At either limit the oldest newcomer ends on every node, whichever made it, and no other session.
func TestNewcomersMakeRoom(t *testing.T) {
	for _, limits := range [][2]int{{10, 0}, {0, 13}} {
		c := newcomersCluster(t, 3, time.Hour, limits[0], limits[1])
		for n := range 3 {
			c.create(n, n)
			c.run(50 * time.Millisecond)
			c.read((n+1)%3, cookieHash(n), "")
			c.run(50 * time.Millisecond)
		}
		for n := 3; n < 100; n++ {
			c.create(n%3, n)
			c.run(20 * time.Millisecond)
		}
		c.run(time.Second)
		for i, core := range c.cores {
			for n := range 100 {
				if want := n < 3 || n >= 90; c.has(i, n) != want {
					t.Errorf("limits %v: session %d is at %v: %v", limits, n, c.ids[i], !want)
				}
			}
			if s := core.Stats(); s.Sessions != 13 || s.Newcomers != 10 || s.Evicted == 0 || core.Table().Awaited() > 2000 {
				t.Errorf("limits %v: %v: %+v, %d remembered", limits, c.ids[i], s, core.Table().Awaited())
			}
			checkSums(t, core)
		}
		c.wantSame()
	}
}

// Where every user came back, newcomers are refused as before.
func TestNobodyIsEvictedForANewcomer(t *testing.T) {
	c := newcomersCluster(t, 1, time.Minute, 100, 3)
	for n := range 3 {
		c.create(0, n)
		c.read(0, cookieHash(n), "")
	}
	if _, _, err := c.cores[0].Create(c.now, cookieHash(3), deltamanager.Tx{}); !errors.Is(err, deltamanager.ErrFull) {
		t.Errorf("a fourth session of three: %v", err)
	}
	for n := range 3 {
		if !c.has(0, n) {
			t.Errorf("session %d has ended for a newcomer", n)
		}
	}
}

// What is remembered of newcomers does not grow with the users who came back.
func TestNewcomersAreForgottenInTime(t *testing.T) {
	c := loneCore(func(cfg *deltamanager.Config) { cfg.Limits.MaxNewcomers = 100 })
	now := time.Second
	for n := range 20_000 {
		if _, _, err := c.Create(now, cookieHash(n), deltamanager.Tx{}); err != nil {
			t.Fatal(err)
		}
		if _, _, ok := c.Open(now, cookieHash(n)); !ok {
			t.Fatal(n)
		}
	}
	if n := c.Table().Awaited(); n > 2000 || c.Stats().Newcomers != 0 || c.Stats().Sessions != 20_000 {
		t.Errorf("%d keys remembered, %+v", n, c.Stats())
	}
}
