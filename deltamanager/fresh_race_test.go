package deltamanager

import (
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// eagerGroup answers a question before the next one is asked.
type eagerGroup struct{ answer func(to membership.ID) }

func (g *eagerGroup) Wake(to membership.ID, _, _ bool) {
	if g.answer != nil {
		g.answer(to)
	}
}

func TestFirstAnswerMayComeBeforeTheLastQuestion(t *testing.T) {
	c := newCluster(t, 3)
	for _, core := range c.cores {
		core.cfg.FreshnessWait = 50 * time.Millisecond
	}
	eager := new(eagerGroup)
	c.cores[0].group = eager
	c.run(time.Second)
	c.create(0, 1)
	c.run(time.Second)
	var tokens []Token
	for i := 1; i <= 2; i++ {
		c.write(i, tagOf(1), c.ids[i].Name, "seen")
		r, _, _ := c.cores[i].Open(c.now, tagOf(1))
		tokens = append(tokens, r.Tokens(c.now, nil)...)
	}
	if len(tokens) < 2 {
		t.Fatalf("tokens: %+v", tokens)
	}
	eager.answer = func(to membership.ID) {
		if to == c.ids[1] { // n3 takes its time
			c.exchange(0, 1)
			c.exchange(1, 0)
		}
	}
	q := c.cores[0].Fresh(c.now, tagOf(1), tokens, nil)
	if q == nil {
		t.Fatal("nothing is missing, though n3 was not asked yet")
	}
	select {
	case <-q.Done():
		t.Error("the query is over with n2's answer")
	default:
	}
	eager.answer = nil
	c.exchange(0, 2)
	c.exchange(2, 0)
	select {
	case <-q.Done():
	default:
		t.Error("all is answered, but the query is open")
	}
	if c.cores[0].Close(q) {
		t.Error("all is answered, but the query says stale")
	}
	for i := 1; i <= 2; i++ {
		if got := c.read(0, tagOf(1), c.ids[i].Name); got != "seen" {
			t.Errorf("the write of %v: %q", c.ids[i], got)
		}
	}
}
