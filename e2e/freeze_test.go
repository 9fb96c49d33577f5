package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A node is stopped for 5 s as by a hypervisor: the others go on without it.
// When it runs again it serves nothing old: it turns not ready, repairs, is
// ready again.
func TestFreeze(t *testing.T) {
	t.Parallel()
	c := started(t)
	frozen, rest := c[2], c[:2]
	users := make([]*user, 40)
	for i := range users {
		users[i] = new(user)
		users[i].ok(t, c[i%3], "inc")
	}
	dead := new(user)
	dead.ok(t, frozen, "inc")
	within(t, 5*time.Second, "sessions everywhere", func() error {
		return all(c, func(n *node) error { return errors.Join(users[39].has(n, "n=1\n"), dead.has(n, "n=1\n")) })
	})

	stopped := frozen.signal(syscall.SIGSTOP)
	var slowest time.Duration
	for i, u := range users { // what is written while it sleeps
		a := u.ok(t, rest[i%2], "inc")
		if r := a.reply(t); r.n != 2 {
			t.Errorf("beside a frozen node: %+v", r)
		}
		slowest = max(slowest, a.took)
	}
	dead.stranger().ok(t, rest[0], "invalidate")
	t.Logf("slowest async write beside a frozen node: %v", slowest)
	t.Logf("frozen node gone on the others after %v (contract: 3s)", c.lose(t, stopped, frozen, 4*time.Second))
	new(user).ok(t, rest[0], "inc") // a new session

	woken := wakeAfter(t, frozen, stopped.Add(5*time.Second), users, dead)
	t.Logf("in sync again %v after SIGCONT", c.awaitSince(t, woken, 10*time.Second))
	if log := frozen.log.String(); !strings.Contains(log, `msg="no longer ready`) {
		t.Error("a node that slept for 5 s did not turn not ready")
	}
	for _, u := range users {
		if err := all(c, func(n *node) error { return u.has(n, "n=2\n") }); err != nil {
			t.Error(err)
		}
	}
	if err := all(c, func(n *node) error { return errors.Join(dead.has(n, noSession), holds(n, len(users)+1)) }); err != nil {
		t.Error(err)
	}
}

// wakeAfter has requests wait at the frozen node's door, lets it run again, and
// goes on asking: whatever it answers must be of now.
func wakeAfter(t *testing.T, frozen *node, at time.Time, users []*user, dead *user) time.Time {
	t.Helper()
	until(at.Add(-300 * time.Millisecond)) // time enough for requests to get there
	var refused int
	var wrong []string
	var mu sync.Mutex
	ask := func(u *user, want string) (served bool) {
		a, err := u.stranger().get(frozen, "all")
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err != nil || a.status == http.StatusServiceUnavailable:
			refused++
		case a.status == http.StatusOK && strings.Contains(a.body, want):
			return true
		default:
			wrong = append(wrong, fmt.Sprintf("%s %d %q, want %q or 503", time.Now().UTC().Format(time.StampMilli), a.status, a.body, want))
		}
		return false
	}
	var waiting sync.WaitGroup
	askOn := func(u *user, want string) func() {
		return func() {
			pace := time.NewTicker(time.Millisecond)
			defer pace.Stop()
			for end := at.Add(5 * time.Second); !ask(u, want) && time.Now().Before(end); {
				<-pace.C
			}
		}
	}
	for _, u := range users {
		waiting.Go(askOn(u, "n=2\n"))
	}
	waiting.Go(askOn(dead, "none -1"))
	until(at)
	woken := frozen.signal(syscall.SIGCONT)
	waiting.Wait()
	t.Logf("answers until each was right: %d refused, %d old; all right %v after SIGCONT", refused, len(wrong), time.Since(woken))
	if len(wrong) > 0 {
		t.Errorf("a node that was frozen serves what is old, %d times, first and last:\n%s\n%s", len(wrong), wrong[0], wrong[len(wrong)-1])
	}
	return woken
}
