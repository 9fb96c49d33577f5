package deltamanager_test

import (
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
)

// endAll makes n sessions and ends each after it has lived for that long.
func (c *cluster) endAll(i, from, n int, lives time.Duration) (keys []deltamanager.Key) {
	c.t.Helper()
	var refs []deltamanager.Ref
	for k := range n {
		refs = append(refs, c.create(i, from+k))
	}
	c.run(lives)
	for _, r := range refs {
		if _, err := c.cores[i].Commit(c.now, r, deltamanager.Tx{Invalidate: true}); err != nil {
			c.t.Fatal(err)
		}
		keys = append(keys, r.Key())
	}
	return keys
}

func (c *cluster) remembered(i int, keys []deltamanager.Key) (n int) {
	for _, k := range keys {
		if c.cores[i].Dead(k) {
			n++
		}
	}
	return n
}

// A client that logs in and out as fast as it can pushes out its own logouts, also
// where another node has told of them.
func TestAFloodOfLogoutsPushesOutItsOwn(t *testing.T) {
	c := newCluster(t, 2, func(cfg *deltamanager.Config) { cfg.Limits.MaxTombs = 60 })
	c.run(time.Second)
	users := c.endAll(0, 0, 40, table.BriefLife+time.Second)
	for round := range 10 {
		c.endAll(round%2, 1000+100*round, 50, 100*time.Millisecond)
		c.run(100 * time.Millisecond)
	}
	for i, core := range c.cores {
		if n := c.remembered(i, users); n != 40 {
			t.Errorf("%v remembers %d of 40 users' logouts", c.ids[i], n)
		}
		if s := core.Stats(); s.Tombstones != 60 || s.TombstonesEvicted == 0 {
			t.Errorf("%v has %d tombstones and has evicted %d", c.ids[i], s.Tombstones, s.TombstonesEvicted)
		}
		checkSums(t, core)
	}
}

// Both have logged out users while they could not reach each other, and have no room
// for all: they forget the same ones, and are done with repair.
func TestMembersForgetTheSameTombstones(t *testing.T) {
	c := newCluster(t, 2, func(cfg *deltamanager.Config) { cfg.Limits.MaxTombs = 50 })
	c.run(time.Second)
	c.disconnect(0, 1)
	var all []deltamanager.Key // as they ended
	for round := range 4 {
		all = append(all, c.endAll(0, 1000*round, 15, time.Second)...)
		all = append(all, c.endAll(1, 1000*round+500, 15, time.Second)...)
	}
	c.connect(0, 1)
	c.run(30 * time.Second)
	c.wantSame()
	was := c.cores[0].Stats().Repairs + c.cores[1].Stats().Repairs
	c.run(time.Minute)
	c.wantSame()
	if n := c.cores[0].Stats().Repairs + c.cores[1].Stats().Repairs - was; n != 0 {
		t.Errorf("%d repairs of what has been forgotten", n)
	}
	for i, core := range c.cores {
		if n, last := core.Stats().Tombstones, c.remembered(i, all[len(all)-50:]); n != 50 || last != 50 {
			t.Errorf("%v has %d tombstones, %d of the last 50", c.ids[i], n, last)
		}
	}
}
