package deltamanager_test

import (
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
)

// outcome is where a waiter stands.
func outcome(w *deltamanager.Waiter) (done bool, applied, need int) {
	select {
	case <-w.Done():
		done = true
	default:
	}
	applied, need = w.Applied()
	return done, applied, need
}

func TestAcksAreCountedByMember(t *testing.T) {
	for _, tt := range []struct {
		level         deltamanager.Acks
		cut, gone     bool // of the third node
		done          bool
		applied, need int
	}{
		{level: deltamanager.One, done: true, applied: 2, need: 1},
		{level: deltamanager.Majority, done: true, applied: 2, need: 1},
		{level: deltamanager.All, done: true, applied: 2, need: 2},
		{level: deltamanager.All, cut: true, applied: 1, need: 2},
		{level: deltamanager.Majority, cut: true, done: true, applied: 1, need: 1},
		{level: deltamanager.All, cut: true, gone: true, done: true, applied: 1, need: 1},
	} {
		c := newCluster(t, 3)
		c.run(time.Second)
		c.create(0, 1)
		c.run(time.Second)
		if tt.cut {
			c.disconnect(0, 2)
		}
		r, _, _ := c.cores[0].Open(c.now, cookieHash(1))
		receipt, err := c.cores[0].Commit(c.now, r, deltamanager.Tx{Writes: []deltamanager.Write{{Name: "n", Value: []byte("1")}}})
		if err != nil {
			t.Fatal(err)
		}
		w := c.cores[0].Expect(receipt, tt.level)
		if done, applied, _ := outcome(w); done || applied != 0 {
			t.Errorf("%+v: confirmed before anything was sent", tt)
		}
		c.run(100 * time.Millisecond)
		if tt.gone {
			c.cores[0].Gone(c.now, c.ids[2])
		}
		if done, applied, n := outcome(w); done != tt.done || applied != tt.applied || n != tt.need {
			t.Errorf("%+v: done=%v, %d of %d", tt, done, applied, n)
		}
	}
}

func TestNobodyToWaitFor(t *testing.T) {
	c := newCluster(t, 1)
	c.run(time.Second)
	r, receipt, err := c.cores[0].Create(c.now, cookieHash(1), deltamanager.Tx{})
	if err != nil {
		t.Fatal(err)
	}
	for level, need := range map[deltamanager.Acks]int{deltamanager.One: 1, deltamanager.Majority: 0, deltamanager.All: 0} {
		if done, applied, n := outcome(c.cores[0].Expect(receipt, level)); !done || applied != 0 || n != need {
			t.Errorf("%v alone: done=%v, %d of %d", level, done, applied, n)
		}
	}
	_ = r
}

// A change may be on its way before its request begins to wait: the member must
// not take its time with the acknowledgement, as it may when nobody waits.
func TestWaitingForWhatIsOnItsWay(t *testing.T) {
	c := newCluster(t, 2)
	c.run(time.Second)
	c.create(0, 1)
	c.run(time.Second)
	r, _, _ := c.cores[0].Open(c.now, cookieHash(1))
	receipt, err := c.cores[0].Commit(c.now, r, deltamanager.Tx{Writes: []deltamanager.Write{{Name: "n", Value: []byte("1")}}})
	if err != nil {
		t.Fatal(err)
	}
	c.exchange(0, 1)
	w := c.cores[0].Expect(receipt, deltamanager.All)
	for range 2 {
		c.exchange(0, 1)
		c.exchange(1, 0)
	}
	if done, applied, need := outcome(w); !done || applied != 1 {
		t.Errorf("done=%v, %d of %d", done, applied, need)
	}
}
