package e2e

import (
	"fmt"
	"testing"
	"time"
)

// The node that serves everybody is killed. With acks = "one" an answer means
// that another node has the write, so nobody loses one.
func TestFailover(t *testing.T) {
	c := started(t, "replication.acks=one")
	var gone time.Duration
	list, y := crowd(c, 160, 3*time.Second, func(int) *node { return c[0] }, func() {
		gone = c.lose(t, c[0].kill(), c[0], 3*time.Second)
	})
	y.good(t)
	t.Logf("the killed node gone on the others after %v (contract: 3s)", gone)
	rest := c.but(c[0])
	t.Logf("the same on the nodes left after %v", whole(t, rest, list))

	begin := c[0].start()
	t.Logf("started again: complete and in sync after %v", c.awaitSince(t, begin, startLimit))
	if err := all(c, func(n *node) error { return holds(n, len(list)) }); err != nil {
		t.Error(err)
	}
	whole(t, c, list)
}

// holds says if the node does not hold that many sessions.
func holds(n *node, sessions int) error {
	a, err := new(user).get(n, "count")
	if err != nil {
		return err
	}
	if r, err := parse(a.body); err != nil || r.n != sessions {
		return fmt.Errorf("%s holds %q, want %d sessions (%w)", n.name, a.body, sessions, err)
	}
	return nil
}
