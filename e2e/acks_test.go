package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// ackCase is a node with an ack mode, beside a member that freezes.
type ackCase struct {
	acks, onTimeout string
	waits           bool   // while the other is frozen and not yet held gone
	own             string // the node's mode, where each request asks for another
}

// conf is the node's mode, path what the user asks for.
func (a ackCase) conf() (mode, path string) {
	if a.own == "" {
		return a.acks, "inc"
	}
	return a.own, "inc?acks=" + a.acks
}

const ackTimeout = 250 * time.Millisecond // by default

// What each ack mode costs, and tells, while one of three members is frozen: the
// node's own, or one that each request asks for.
func TestAcksBesideFrozenMember(t *testing.T) {
	for _, pair := range [][2]ackCase{
		{{"async", "proceed", false, ""}, {"one", "proceed", false, ""}},
		{{"majority", "proceed", false, ""}, {"all", "proceed", true, ""}},
		{{"majority", "fail", false, ""}, {"all", "fail", true, ""}},
		{{"all", "proceed", true, "async"}, {"async", "proceed", false, "all"}},
		{{"all", "fail", true, "one"}, {"one", "fail", false, "all"}},
		{{"majority", "fail", false, "all"}, {"all", "fail", true, "majority"}},
	} {
		t.Run(fmt.Sprintf("%v and %v", pair[0], pair[1]), func(t *testing.T) {
			t.Parallel()
			c := loopback(t)
			for i, p := range pair {
				mode, _ := p.conf()
				c[i].start("--set", "replication.acks="+mode, "--set", "replication.on_ack_timeout="+p.onTimeout)
			}
			c[2].start()
			c.await(t, startLimit)
			besideFrozen(t, c, pair)
		})
	}
}

func besideFrozen(t *testing.T, c cluster, pair [2]ackCase) {
	t.Helper()
	writers := [2]*writer{}
	for i, p := range pair {
		writers[i] = &writer{ackCase: p, home: c[i]}
		writers[i].ok(t, c[i], "inc")
		writers[i].n++
	}
	phase := func(frozen bool) (median [2]time.Duration) {
		var wg sync.WaitGroup
		for i, w := range writers {
			wg.Go(func() { median[i] = w.write(t, frozen) })
		}
		wg.Wait()
		return median
	}
	healthy := phase(false)
	stopped := c[2].signal(syscall.SIGSTOP)
	frozen := phase(true)
	if took := time.Since(stopped); took > 1500*time.Millisecond {
		t.Logf("slow machine: %v for the writes beside the frozen member", took)
	}
	if pair[0].acks == "async" {
		logoutBesideFrozen(t, c)
	}
	gone := c.lose(t, stopped, c[2], 5*time.Second)
	without := phase(false)
	c[2].signal(syscall.SIGCONT)
	c.await(t, 10*time.Second)
	for i, w := range writers {
		t.Logf("%-8s %-7s median write: %v all well, %v beside a frozen member, %v when it is held gone (after %v)",
			w.acks, w.onTimeout, healthy[i], frozen[i], without[i], gone.Round(time.Millisecond))
		for _, n := range c {
			if err := w.has(n, fmt.Sprintf("n=%d\n", w.n)); err != nil {
				t.Errorf("%s: a write that was answered, also one with 503, stays: %v", w.acks, err)
			}
		}
	}
}

// writer is a user of one session on one node, who counts.
type writer struct {
	ackCase
	user
	home *node
	n    int // increments, whatever their answers
}

// write increments some times, checks each answer, and returns the median time.
func (w *writer) write(t *testing.T, frozen bool) time.Duration {
	t.Helper()
	waits, times := frozen && w.waits, 20
	if waits {
		times = 4
	}
	var took []time.Duration
	_, path := w.conf()
	for range times {
		a, err := w.get(w.home, path)
		if err != nil {
			t.Error(err)
			return 0
		}
		w.n++
		took = append(took, a.took)
		if problem := w.judge(a, waits); problem != "" {
			t.Errorf("acks %s, %s, frozen %v: %s", w.acks, w.onTimeout, frozen, problem)
		}
	}
	slices.Sort(took)
	median := took[len(took)/2]
	if waits && took[0] < ackTimeout-10*time.Millisecond || waits && median > 3*ackTimeout || !waits && median > ackTimeout/2 {
		t.Errorf("acks %s, frozen %v: writes take %v", w.acks, frozen, took)
	}
	return median
}

const (
	notConfirmed = "the change was made here and goes on replicating, but not enough other nodes have confirmed it in " +
		"time; it may be there when you try again\n"
	replicated = "Nodeserver-Replicated"
)

// judge says what is wrong with an answer.
func (w *writer) judge(a answer, waits bool) string {
	status, body, header, retry := http.StatusOK, fmt.Sprintf(" %d %s\n", w.n, w.home.name), "", ""
	if waits {
		header = "1/2"
	}
	if waits && w.onTimeout == "fail" {
		status, body, retry = http.StatusServiceUnavailable, notConfirmed, "1"
	}
	if a.status != status || !strings.HasSuffix(a.body, body) || a.header.Get(replicated) != header ||
		a.header.Get("Retry-After") != retry {
		return fmt.Sprintf("answer %d %q, %s %q, Retry-After %q; want %d %q, %q, %q",
			a.status, a.body, replicated, a.header.Get(replicated), a.header.Get("Retry-After"), status, body, header, retry)
	}
	return ""
}

// logoutBesideFrozen: in every mode a new session asks for one other member, and
// an end for all, for a moment.
func logoutBesideFrozen(t *testing.T, c cluster) {
	t.Helper()
	u := new(user)
	begun := u.ok(t, c[0], "inc")
	if begun.took > ackTimeout || begun.header.Get(replicated) != "" {
		t.Errorf("a new session beside a frozen member: %v, %s %q", begun.took, replicated, begun.header.Get(replicated))
	}
	if err := u.has(c[1], "n=1\n"); err != nil {
		t.Errorf("a new session is answered before another node has it: %v", err)
	}
	before := u.stranger()
	out := u.ok(t, c[0], "invalidate")
	if out.took < ackTimeout-10*time.Millisecond || out.took > 4*ackTimeout || out.header.Get(replicated) != "1/2" {
		t.Errorf("logout beside a frozen member: %v, %s %q", out.took, replicated, out.header.Get(replicated))
	}
	if err := before.has(c[1], noSession); err != nil {
		t.Errorf("logout is answered before the member that is well knows: %v", err)
	}
}
