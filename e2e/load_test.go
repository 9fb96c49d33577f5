package e2e

import (
	"testing"
	"time"
)

// Users who stay on their node, all three nodes busy: nothing goes wrong, and
// when it is quiet all nodes hold the same.
func TestLoad(t *testing.T) {
	c := started(t)
	list, y := crowd(c, 64, 3*time.Second, func(i int) *node { return c[i%3] }, func() {})
	quiet := time.Now()
	y.good(t)
	if y.moves > 0 {
		t.Errorf("%d moves to another node, though all were well", y.moves)
	}
	c.await(t, 5*time.Second)
	whole(t, c, list)
	t.Logf("the same on all nodes, read back, %v after the load", time.Since(quiet))
}
