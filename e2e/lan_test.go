package e2e

import (
	"strings"
	"testing"
	"time"
)

// Three hosts that know nothing of each other but a secret: they find each
// other, a killed one is missed, a split heals.
func TestLAN(t *testing.T) {
	t.Parallel()
	c := lan(t)
	var last time.Time
	for _, n := range c {
		last = n.start()
	}
	took := c.awaitSince(t, last, 5*time.Second)
	t.Logf("members complete on all %v after the last start (contract: 2s)", took)

	for _, n := range c {
		if !strings.Contains(n.log.String(), " tls=true\n") {
			t.Errorf("%s has a secret but runs without TLS", n.name)
		}
	}

	u := new(user)
	for i := range 5 {
		if r := u.ok(t, c[0], "inc").reply(t); r.n != i+1 || r.node != "n1" {
			t.Fatalf("inc %d: %+v", i+1, r)
		}
	}
	c.await(t, 5*time.Second) // async: the answer alone does not promise that others have it
	killed := c[0].kill()
	if r := u.ok(t, c[1], "inc").reply(t); r.n != 6 || r.node != "n2" {
		t.Errorf("after kill -9 of the serving node the counter goes on with %+v", r)
	}
	within(t, 5*time.Second, "the same on the other node left", func() error { return u.has(c[2], "n=6\n") })
	if r := u.ok(t, c[2], "inc").reply(t); r.n != 7 {
		t.Errorf("and on the third node with %+v", r)
	}
	t.Logf("the killed node gone on the others after %v (contract: 3s)", c.lose(t, killed, c[0], 3*time.Second))

	last = c[0].start()
	t.Logf("started again: complete and in sync after %v", c.awaitSince(t, last, 5*time.Second))
	if err := u.has(c[0], "n=7\n"); err != nil {
		t.Errorf("a node that joins: %v", err)
	}
	split(t, c)
}

// split pulls the cable of the third host for 10 s.
func split(t *testing.T, c cluster) {
	t.Helper()
	near, far := c[0], c[2]
	both, deadNear, deadFar := new(user), new(user), new(user)
	for _, u := range []*user{both, deadNear, deadFar} {
		u.ok(t, near, "put?k=before&v=1")
	}
	within(t, 5*time.Second, "sessions everywhere", func() error {
		return all(c, func(n *node) error { return deadFar.has(n, "before=1\n") })
	})
	far.host.Unplug()
	cut := time.Now()
	for _, n := range c[:2] {
		t.Logf(
			"cable pulled: the far host gone on %s after %v",
			n.name,
			since(t, cut, 5*time.Second, "far gone", func() error { return n.lost(far) }),
		)
	}
	since(t, cut, 5*time.Second, "near hosts gone on the far one", func() error { return far.sees(far) })

	farJar := both.stranger() // the same user, on the other side
	both.ok(t, near, "put?k=near&v=2")
	farJar.ok(t, far, "put?k=far&v=3")
	deadNearFar, deadFarNear := deadNear.stranger(), deadFar.stranger()
	deadNear.stranger().ok(t, near, "invalidate")
	deadFar.stranger().ok(t, far, "invalidate")
	// The other side still has what died here, and even writes to it.
	deadNearFar.ok(t, far, "put?k=late&v=4")
	deadFarNear.ok(t, near, "put?k=late&v=4")
	bornNear, bornFar := new(user), new(user)
	bornNear.ok(t, near, "put?k=born&v=near")
	bornFar.ok(t, far, "put?k=born&v=far")
	until(cut.Add(10 * time.Second))
	far.host.Plug()
	plugged := time.Now()
	took := c.awaitSince(t, plugged, 10*time.Second)
	healed := since(
		t, plugged, 10*time.Second, "whole everywhere",
		func() error { return isHealed(c, both, deadNear, deadFar, bornNear, bornFar) },
	)
	t.Logf("cable back: members in sync after %v, sessions whole after %v (contract: 10s)", took, healed)
	within(t, 10*time.Second, "another comparison of the members", func() error {
		if err := isHealed(c, both, deadNear, deadFar, bornNear, bornFar); err != nil {
			t.Errorf("after it was healed: %v", err)
		}
		if time.Since(plugged) < healed+2*time.Second {
			return errEarly
		}
		return nil
	})
}

func isHealed(c cluster, both, deadNear, deadFar, bornNear, bornFar *user) error {
	return all(c, func(n *node) error {
		for _, s := range []struct {
			user *user
			want string
		}{
			{both, "before=1\nfar=3\nnear=2\n"},
			{deadNear, noSession},
			{deadFar, noSession},
			{bornNear, "born=near\n"},
			{bornFar, "born=far\n"},
		} {
			if err := s.user.has(n, s.want); err != nil {
				return err
			}
		}
		return nil
	})
}
