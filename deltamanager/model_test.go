package deltamanager

import (
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// Tests of the small pure parts, and of the model's algebra.

// checkSums recomputes every sum from scratch.
func checkSums(t *testing.T, c *Core) {
	t.Helper()
	if err := c.table.Check(); err != nil {
		t.Fatal(err)
	}
}

func loneCore(tune ...func(*Config)) *Core {
	cfg := testConfig(membership.ID{Name: "n1", Boot: 1})
	for _, tune := range tune {
		tune(&cfg)
	}
	c := NewCore(cfg, quietGroup{})
	c.Settle()
	c.Tick(time.Millisecond)
	return c
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
	if done := d.finished(); !done.Has(1) {
		t.Errorf("a finished bucket is not done")
	}
	d.reset()
	if done := d.finished(); !done.Empty() {
		t.Errorf("reset leaves what is done")
	}
}
