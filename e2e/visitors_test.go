package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"
)

// visitor is a user who counts along with their session. One goroutine owns a visitor.
type visitor struct {
	user
	home  *node
	sid   string
	count int // as last answered
	open  int // requests since then without an answer: each may have counted
}

// tally is what visitors met with.
type tally struct {
	mu                                              sync.Mutex
	requests, moves, errors, lost, doubled, strange int
	first                                           string // of what is wrong
	pause                                           time.Duration
}

func (y *tally) String() string {
	return fmt.Sprintf(
		"%d requests, %d moves to another node, %d errors, %d lost writes, %d counted twice, %d lost sessions, longest wait %v",
		y.requests, y.moves, y.errors, y.lost, y.doubled, y.strange, y.pause.Round(time.Millisecond),
	)
}

// good fails the test if anything is wrong.
func (y *tally) good(t testing.TB) {
	t.Helper()
	t.Log(y)
	if y.errors+y.lost+y.doubled+y.strange > 0 || y.requests == 0 {
		t.Errorf("%v; the first: %s", y, y.first)
	}
}

func (y *tally) wrong(what *int, format string, args ...any) {
	*what++
	if y.first == "" {
		y.first = fmt.Sprintf(format, args...)
	}
}

// patience is how long a visitor tries one request, node after node.
const patience = 5 * time.Second

// visit increments once, on another node if need be, as behind a balancer
// that is sticky.
func (v *visitor) visit(c cluster, y *tally) {
	begin, moved := time.Now(), 0
	var a answer
	var err error
	for time.Since(begin) < patience {
		if a, err = v.get(v.home, "inc"); err == nil && a.status == http.StatusOK {
			break
		}
		if err == nil {
			err = fmt.Errorf("%s: status %d: %s", v.home.name, a.status, a.body)
		}
		moved++
		v.open++
		v.home = c[(index(c, v.home)+1)%len(c)]
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.requests++
	y.moves += moved
	y.pause = max(y.pause, time.Since(begin))
	if err != nil {
		y.wrong(&y.errors, "%v", err)
		return
	}
	v.judge(a, y)
}

func (v *visitor) judge(a answer, y *tally) {
	r, err := parse(a.body)
	was := fmt.Sprintf(
		"%s answers %q to a visitor at count %d of session %s, with %d requests unanswered", v.home.name,
		a.body, v.count, v.sid, v.open,
	)
	switch {
	case err != nil:
		y.wrong(&y.errors, "%v", err)
	case v.sid != "" && r.sid != v.sid:
		y.wrong(&y.strange, "%s", was)
	case r.n <= v.count:
		y.wrong(&y.lost, "%s", was)
	case r.n > v.count+1+v.open:
		y.wrong(&y.doubled, "%s", was)
	}
	v.sid, v.count, v.open = r.sid, r.n, 0
}

func index(c cluster, n *node) int {
	for i := range c {
		if c[i] == n {
			return i
		}
	}
	return -1
}

// crowd lets visitors at the nodes, by 16 workers, for a time; at half-time it
// calls middle. home says where each starts.
func crowd(c cluster, visitors int, d time.Duration, home func(i int) *node, middle func()) ([]*visitor, *tally) {
	const workers = 16
	y, list := new(tally), make([]*visitor, visitors)
	for i := range list {
		list[i] = &visitor{home: home(i)}
	}
	end := time.Now().Add(d)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for time.Now().Before(end) {
				for i := w; i < visitors; i += workers {
					list[i].visit(c, y)
				}
			}
		})
	}
	<-time.After(d / 2)
	middle()
	wg.Wait()
	return list, y
}

// whole waits until all nodes hold what the visitors were promised, and the
// same. It returns how long that took.
func whole(t testing.TB, c cluster, list []*visitor) time.Duration {
	t.Helper()
	begin := time.Now()
	for _, v := range list {
		since(t, begin, 15*time.Second, "the same on every node", func() error { return v.same(c) })
	}
	return time.Since(begin)
}

// same says where the visitor's session is not what it should be.
func (v *visitor) same(c cluster) error {
	first := -1
	return all(c, func(n *node) error {
		a, err := v.stranger().get(n, "get")
		if err != nil {
			return err
		}
		r, err := parse(a.body)
		switch {
		case err != nil:
			return err
		case r.sid != v.sid || r.n < v.count || r.n > v.count+v.open:
			return fmt.Errorf("%s has %q of a visitor at count %d of session %s", n.name, a.body, v.count, v.sid)
		case first >= 0 && r.n != first:
			return fmt.Errorf("%s has %q, another node %d", n.name, a.body, first)
		}
		first = r.n
		return nil
	})
}
