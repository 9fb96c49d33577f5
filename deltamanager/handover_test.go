package deltamanager_test

import (
	"testing"
	"time"
)

// During a split a node may be the only one that has what a third has written. When
// it leaves in good order, the node that stays has it, even if its writer dies.
func TestHandOverBringsWhatOthersWrote(t *testing.T) {
	c := newCluster(t, 3)
	c.run(time.Second)
	c.create(0, 1)
	c.run(time.Second)
	c.gone(0, 2)
	c.write(0, cookieHash(1), "n", "1")
	c.create(0, 2)
	c.write(0, cookieHash(2), "n", "2")
	c.run(100 * time.Millisecond)
	c.wantAt(1, cookieHash(1), "n", "1")
	c.wantAt(2, cookieHash(1), "n", "")
	c.cores[1].HandOver(c.now)
	if c.cores[1].Flushed() {
		t.Errorf("flushed before the members have compared")
	}
	for end := c.now + time.Second; !c.cores[1].Flushed(); c.run(10 * time.Millisecond) {
		if c.now > end {
			t.Fatal("not flushed within a second")
		}
	}
	c.gone(0, 1) // which dies
	c.gone(1, 2)
	c.wantAt(2, cookieHash(1), "n", "1")
	c.wantAt(2, cookieHash(2), "n", "2")
}

// A node that has nothing to hand over waits until its members have said so, which they do at
// once, not with their next heartbeat.
func TestHandOverOfNothingIsQuick(t *testing.T) {
	c := newCluster(t, 3)
	c.run(time.Second)
	for n := range 100 {
		c.create(n%3, n)
	}
	c.run(time.Second)
	c.cores[1].HandOver(c.now)
	if c.cores[1].Flushed() {
		t.Errorf("flushed before the members have compared")
	}
	c.run(50 * time.Millisecond)
	if !c.cores[1].Flushed() {
		t.Errorf("not flushed though all is the same")
	}
	if s := c.cores[1].Stats(); s.Repairs != 0 {
		t.Errorf("%d comparisons of what is the same", s.Repairs)
	}
}
