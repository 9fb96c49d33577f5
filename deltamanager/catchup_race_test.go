package deltamanager_test

import (
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/membership"
)

// A core may be answered before it asks the next question.
func TestFirstAnswerMayComeBeforeTheLastQuestion(t *testing.T) {
	c := newCluster(t, 3, func(cfg *deltamanager.Config) { cfg.FreshnessWait = 50 * time.Millisecond })
	c.run(time.Second)
	c.create(0, 1)
	c.run(time.Second)
	var tokens []deltamanager.Token
	for i := 1; i <= 2; i++ {
		c.write(i, cookieHash(1), c.ids[i].Name, "seen")
		r, _, _ := c.cores[i].Open(c.now, cookieHash(1))
		tokens = append(tokens, r.Tokens(c.now, nil)...)
	}
	if len(tokens) < 2 {
		t.Fatalf("tokens: %+v", tokens)
	}
	c.woken[0].told = func(to membership.ID, _ bool) {
		if to == c.ids[1] { // n3 takes its time
			c.exchange(0, 1)
			c.exchange(1, 0)
		}
	}
	q := c.cores[0].CatchUp(c.now, cookieHash(1), tokens, nil)
	if q == nil {
		t.Fatal("nothing is missing, though n3 was not asked yet")
	}
	select {
	case <-q.Done():
		t.Error("the catch-up is over with n2's answer")
	default:
	}
	c.woken[0].told = nil
	c.exchange(0, 2)
	c.exchange(2, 0)
	select {
	case <-q.Done():
	default:
		t.Error("all is answered, but the catch-up is open")
	}
	if c.cores[0].Close(q) {
		t.Error("all is answered, but the catch-up says stale")
	}
	for i := 1; i <= 2; i++ {
		if got := c.read(0, cookieHash(1), c.ids[i].Name); got != "seen" {
			t.Errorf("the write of %v: %q", c.ids[i], got)
		}
	}
}
