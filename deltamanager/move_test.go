package deltamanager_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
)

// A change of a session can be waiting to be sent when a login gives the session another identity.
// It says that the session is over, so that it counts as applied; but not before the session that
// takes its place: a member that heard of the end alone would have lost what it held, if this node
// died then, and would tell listeners of an end.
func TestEndOfAMovedSessionComesAfterItsSuccessor(t *testing.T) {
	c := newCluster(t, 1)
	r := c.create(0, 1)
	core := c.cores[0]
	old := r.Key()
	if _, _, err := core.Move(
		c.now, r, deltamanager.Identity{Key: deltamanager.Key{9}, CookieHash: cookieHash(2), Principal: "ann"},
		deltamanager.Tx{},
	); err != nil {
		t.Fatal(err)
	}
	said := core.SayChange(c.now, old, "a")
	next, end := bytes.Index(said, new(deltamanager.Key{9})[:]), bytes.LastIndex(said, old[:])
	if next < 0 || end < next {
		t.Errorf("the successor is at %d, the end at %d of %x", next, end, said)
	}
}

// A member that writes to a session which was given another identity elsewhere is told so, ahead of
// what waits to be sent: it must get the session that goes on, and not hear of the end alone.
func TestPushedEndOfAMovedSessionComesWithItsSuccessor(t *testing.T) {
	var events []deltamanager.Event
	c := newCluster(t, 2, func(cfg *deltamanager.Config) {
		if cfg.Self.Name == "n2" {
			cfg.Observe = func(e deltamanager.Event) { events = append(events, e) }
		}
	})
	c.run(time.Second)
	c.create(0, 1)
	c.run(time.Second)
	r, _, _ := c.cores[0].Open(c.now, cookieHash(1))
	if _, _, err := c.cores[0].Move(
		c.now, r, deltamanager.Identity{Key: deltamanager.Key{9}, CookieHash: cookieHash(2), Principal: "ann"},
		deltamanager.Tx{},
	); err != nil {
		t.Fatal(err)
	}
	c.write(1, cookieHash(1), "other", "y")
	events = nil
	if err := c.cores[0].Receive(c.now, c.ids[1], false, c.cores[1].Pull(c.now, c.ids[0], false)); err != nil {
		t.Fatal(err)
	}
	if err := c.cores[1].Receive(c.now, c.ids[0], true, c.cores[0].Pull(c.now, c.ids[1], true)); err != nil {
		t.Fatal(err)
	}
	c.wantAt(1, cookieHash(1), "other", "<no session>")
	if info, _ := c.cores[1].Peek(c.now, cookieHash(2)); info.Auth.Principal != "ann" {
		t.Errorf("n2 has principal %q", info.Auth.Principal)
	}
	if len(events) != 1 || events[0].Kind != deltamanager.IDChanged {
		t.Errorf("n2 is told %+v", events)
	}
}
