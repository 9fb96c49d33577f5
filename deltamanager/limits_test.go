package deltamanager_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
)

// Two members on both sides of a split may each let a session grow up to its limit. What comes
// of it is over the limit: it reaches all, and can shrink.
func TestSessionsOverTheLimitConverge(t *testing.T) {
	c := newCluster(t, 2)
	c.run(time.Second)
	c.create(0, 1)
	c.run(time.Second)
	c.gone(0, 1)
	long := time.Hour
	for i := range c.cores {
		r, _, _ := c.cores[i].Open(c.now, cookieHash(1))
		tx := deltamanager.Tx{MaxInactive: &long}
		for n := range deltamanager.MaxNames {
			tx.Writes = append(tx.Writes, write(strconv.Itoa(i)+"/"+strconv.Itoa(n), "x"))
		}
		if _, err := c.cores[i].Commit(c.now, r, tx); err != nil {
			t.Fatal(err)
		}
	}
	c.connect(0, 1)
	c.run(10 * time.Second)
	c.wantSame()
	for i := range c.cores {
		r, _, _ := c.cores[i].Open(c.now, cookieHash(1))
		if n := len(r.Names()); n != 2*deltamanager.MaxNames {
			t.Errorf("%d attributes", n)
		}
		fewer := []deltamanager.Write{write(strconv.Itoa(i)+"/0", "y"), {Name: "0/1", Value: nil}}
		if _, err := c.cores[i].Commit(c.now, r, deltamanager.Tx{Writes: fewer}); err != nil {
			t.Errorf("a write that adds no attribute: %v", err)
		}
		more := []deltamanager.Write{write("one more", "x")}
		_, err := c.cores[i].Commit(c.now, r, deltamanager.Tx{Writes: more})
		if !errors.Is(err, deltamanager.ErrTooLarge) {
			t.Errorf("one more attribute: %v", err)
		}
	}
}

func write(name, value string) deltamanager.Write {
	return deltamanager.Write{Name: name, Value: []byte(value)}
}
