package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// rounds is how often each race is run, at its own session, several at once.
const rounds = 200

// round is one race: a user whose session is on every node, and which of the
// nodes they use.
type round struct {
	c    cluster
	u    *user
	a, b *node         // two of c
	told *atomic.Int64 // counts answers which tell that not all have confirmed in time
	late *atomic.Int64 // counts rounds that were no race after all
}

// One session on two nodes at once.
func TestRaces(t *testing.T) {
	c := started(t)
	for _, tt := range []struct {
		name string
		run  func(round) error
	}{
		{"writes to different attributes both survive", differentAttributes},
		{"writes to one attribute have one winner", sameAttribute},
		{"logout beats a slower request", logout},
		{"a changed id is dead everywhere", changedID},
	} {
		t.Run(tt.name, func(t *testing.T) { race(t, c, tt.run) })
	}
}

// In async mode the answer is out before others have the write. A user who then
// is on another node sees it all the same: their read-your-writes cookie tells.
func TestReadYourWrites(t *testing.T) {
	race(t, started(t), func(r round) error {
		if _, err := r.do(r.u, r.a, "put?k=x&v=mine"); err != nil {
			return err
		}
		a, err := r.do(r.u, r.b, "all")
		if err == nil && !strings.Contains(a.body, "x=mine\n") {
			err = fmt.Errorf("reads %q", a.body)
		}
		return err
	})
}

// race runs all rounds of a race.
func race(t *testing.T, c cluster, run func(round) error) {
	t.Helper()
	var wg sync.WaitGroup
	var violations, told, late atomic.Int64
	next := make(chan int)
	for range 8 {
		wg.Go(func() {
			for i := range next {
				r := round{c: c, u: new(user), a: c[i%3], b: c[(i+1+i/3%2)%3], told: &told, late: &late}
				err := r.begin()
				if err == nil {
					err = run(r)
				}
				if err != nil && violations.Add(1) <= 5 {
					t.Errorf("round %d, %s and %s: %v", i, r.a.name, r.b.name, err)
				}
			}
		})
	}
	begin := time.Now()
	for i := range rounds {
		next <- i
	}
	close(next)
	wg.Wait()
	t.Logf("%d rounds in %v: %d violations; %d answers told that not all had confirmed in time; %d were no race",
		rounds, time.Since(begin).Round(time.Millisecond), violations.Load(), told.Load(), late.Load())
	if told.Load() > rounds/10 || late.Load() > rounds/2 {
		t.Error("too many rounds prove nothing")
	}
}

// begin makes the session and waits until every node has it.
func (r round) begin() error {
	if _, err := r.do(r.u, r.a, "put?k=base&v=0"); err != nil {
		return err
	}
	return r.settle(func() error {
		return all(r.c, func(n *node) error { return r.u.has(n, "base=0\n") })
	})
}

// do is a request that must be answered well.
func (r round) do(u *user, n *node, path string) (answer, error) {
	a, err := u.get(n, path)
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("%s: %s: status %d: %s", n.name, path, a.status, a.body)
	}
	return a, err
}

// settle waits until is returns nil, and returns its last error if it doesn't.
func (r round) settle(is func() error) error {
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	end := time.Now().Add(5 * time.Second)
	for {
		err := is()
		if err == nil || time.Now().After(end) {
			return err
		}
		<-poll.C
	}
}

// both does two requests at once, as two tabs of one browser.
func (r round) both(pathA, pathB string) error {
	var errA, errB error
	var wg sync.WaitGroup
	wg.Go(func() { _, errA = r.do(r.u, r.a, pathA) })
	wg.Go(func() { _, errB = r.do(r.u, r.b, pathB) })
	wg.Wait()
	return errors.Join(errA, errB)
}

func differentAttributes(r round) error {
	if err := r.both("put?k=left&v=1", "put?k=right&v=2"); err != nil {
		return err
	}
	return r.settle(func() error {
		return all(r.c, func(n *node) error { return r.u.has(n, "base=0\nleft=1\nright=2\n") })
	})
}

// Both have answered, so each has its own write or a later one: once they are
// equal, they stay so.
func sameAttribute(r round) error {
	if err := r.both("put?k=x&v=A", "put?k=x&v=B"); err != nil {
		return err
	}
	return r.settle(func() error {
		a := all(r.c, func(n *node) error { return r.u.has(n, "base=0\nx=A\n") })
		b := all(r.c, func(n *node) error { return r.u.has(n, "base=0\nx=B\n") })
		if a == nil || b == nil {
			return nil
		}
		return errors.Join(a, b)
	})
}

// A slow request has begun on one node when the user logs out on another: its
// write comes after the logout, and comes to nothing.
func logout(r round) error {
	var slow answer
	var errSlow error
	tab := r.u.stranger()
	var wg sync.WaitGroup
	var ended time.Time
	wg.Go(func() {
		slow, errSlow = r.do(tab, r.b, "slow?ms=60")
		ended = time.Now()
	})
	<-time.After(20 * time.Millisecond) // enough for it to begin
	before := r.u.stranger()
	out, err := r.do(r.u, r.a, "invalidate")
	answered := time.Now()
	if err == nil {
		err = r.dead(out, before)
	}
	wg.Wait()
	if err := errors.Join(err, errSlow); err != nil {
		return err
	}
	was, err := parse(out.body)
	if now, _ := parse(slow.body); err != nil || now.sid != was.sid || ended.Before(answered) {
		r.late.Add(1) // it began after the logout, with a new session, or ended before
		return err
	}
	// The user may have logged in again meanwhile: the slow answer must not touch their cookie.
	for _, line := range slow.header["Set-Cookie"] {
		if strings.HasPrefix(line, "NSESSIONID=") {
			return fmt.Errorf("the slow request's answer touches the session's cookie: %q", line)
		}
	}
	return all(r.c, func(n *node) error { return before.has(n, noSession) })
}

// dead says if the session is not gone from every node the moment the answer is
// out. An answer that tells that not all have confirmed is given some time.
func (r round) dead(out answer, before *user) error {
	is := func() error { return r.everywhere(func(n *node) error { return before.has(n, noSession) }) }
	if applied, need, _ := strings.Cut(out.header.Get("Nodeserver-Replicated"), "/"); applied != need {
		r.told.Add(1)
		return r.settle(is)
	}
	return is()
}

// everywhere asks all nodes at once.
func (r round) everywhere(is func(*node) error) error {
	errs := make([]error, len(r.c))
	var wg sync.WaitGroup
	for i, n := range r.c {
		wg.Go(func() { errs[i] = is(n) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func changedID(r round) error {
	before := r.u.stranger()
	a, err := r.do(r.u, r.a, "changeid")
	if err != nil {
		return err
	}
	if err := r.dead(a, before); err != nil {
		return fmt.Errorf("the old cookie: %w", err)
	}
	if r.u.jar["NSESSIONID"] == before.jar["NSESSIONID"] {
		return errors.New("no new cookie")
	}
	return all(r.c, func(n *node) error { return r.u.has(n, "base=0\n") })
}
