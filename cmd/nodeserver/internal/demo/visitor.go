package demo

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"strconv"
	"strings"
	"sync"
	"time"
)

// visitor is one user with a browser: they shop, think, shop on.
type visitor struct {
	number int
	client *http.Client
	ledger *ledger
	think  time.Duration
	chance *rand.Rand
	cart   cart // as they expect it

	mu     sync.Mutex
	home   string // node of the last answer
	moving string // killed home; cleared by the first answer from elsewhere
}

const answerLimit = 10 * time.Second

func newVisitors(n int, think time.Duration, l *ledger) (list []*visitor) {
	shared := &http.Transport{MaxIdleConnsPerHost: n, DisableCompression: true}
	for i := range n {
		list = append(list, &visitor{
			number: i + 1, ledger: l, think: think, chance: rand.New(rand.NewPCG(rand.Uint64(), 0)),
			client: &http.Client{Transport: shared, Jar: newJar(), Timeout: answerLimit},
		})
	}
	return list
}

func newJar() http.CookieJar {
	jar, _ := cookiejar.New(nil) // no options, no error
	return jar
}

// drive lets all visitors shop at the address until ctx ends, and returns when
// all have had their last answer.
func drive(ctx context.Context, visitors []*visitor, addr string) {
	var all sync.WaitGroup
	for _, v := range visitors {
		all.Go(func() {
			pause := time.Duration(rand.Int64N(int64(v.think) + 1)) // not all at once
			for sleep(ctx, pause) {
				v.visit(addr, v.cart.choose(v.number, v.chance))
				pause = v.think/2 + time.Duration(rand.Int64N(int64(v.think)+1))
			}
		})
	}
	all.Wait()
}

// sleep tells whether ctx is still alive after d.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// visit does one thing and enters what it finds. The request isn't tied to the
// drive's end: what was asked is to be answered.
func (v *visitor) visit(addr string, a action) {
	w := wait{asked: time.Now()}
	may := []cart{a.then(v.cart)}
	got, err := v.ask(addr, a)
	w.answered = time.Now()
	if err != nil && a.careless() && v.ledger.duringKill(w) {
		v.ledger.cutOff()
		may = append(may, v.cart) // it may have been done or not
		if a.name == "login" {
			may = append(may, cart{}) // or the old cookie is dead already, and the new one was not told
		}
		got, err = v.ask(addr, look)
		w.answered = time.Now()
	}
	if err != nil {
		v.ledger.failed(v.number, a.name+": "+err.Error())
		v.leave()
		return
	}
	if !got.confirmed {
		v.ledger.unconfirmed()
	}
	w.node = got.node
	f, now := judge(v.cart, a, may, got.line)
	v.ledger.answer(v.number, f, fmt.Sprintf("%s: %q after %q, from %s", a.name, got.line, v.cart.line(), got.node))
	if v.cart = now; f != good {
		v.leave() // nobody knows what is in it now
	}
	v.answered(w)
}

// leave lets the visitor come back as another.
func (v *visitor) leave() { v.cart, v.client.Jar = cart{}, newJar() }

// answered notes who serves the visitor, and when they have had to move.
func (v *visitor) answered(w wait) {
	v.mu.Lock()
	moved := v.moving != "" && w.node != v.moving
	v.home = w.node
	if moved {
		v.moving = ""
	}
	v.mu.Unlock()
	if moved {
		v.ledger.moved(w)
	}
}

// answer is what the app says: "ITEMS TOTAL USER NODE".
type answer struct {
	line      string // without the node
	node      string
	confirmed bool
}

func (v *visitor) ask(addr string, a action) (answer, error) {
	r, err := http.NewRequest(a.method, "http://"+addr+path+a.path, http.NoBody) //nolint:noctx // the client has a timeout
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Accept", "text/plain")
	res, err := v.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	if err != nil {
		return answer{}, fmt.Errorf("read the answer of %s: %w", addr, err)
	}
	if res.StatusCode != http.StatusOK {
		return answer{}, fmt.Errorf("status %d: %s", res.StatusCode, strings.TrimSpace(string(body)))
	}
	words := strings.Fields(string(body))
	if len(words) != 4 {
		return answer{}, fmt.Errorf("answer %q is not ITEMS TOTAL USER NODE", body)
	}
	return answer{strings.Join(words[:3], " "), words[3], confirmed(res.Header.Get("Nodeserver-Replicated"))}, nil
}

// confirmed tells whether as many other nodes have a write as it waits for, and one at least.
// Most answers say only where it is not so; those to logins and logouts always say how many of
// how many: "1/1", or "0/0" where no other node could be reached.
func confirmed(replicated string) bool {
	applied, need, _ := strings.Cut(replicated, "/")
	a, errA := strconv.Atoi(applied)
	n, errN := strconv.Atoi(need)
	return replicated == "" || errA == nil && errN == nil && a >= max(n, 1)
}

const path = "/cart/"

// homes counts visitors by the node that serves them.
func homes(visitors []*visitor) map[string]int {
	m := map[string]int{}
	for _, v := range visitors {
		v.mu.Lock()
		if v.home != "" {
			m[v.home]++
		}
		v.mu.Unlock()
	}
	return m
}

// mustMove tells the visitors of a node that their next answer is of interest.
func mustMove(visitors []*visitor, node string) {
	for _, v := range visitors {
		v.mu.Lock()
		if v.home == node {
			v.moving = node
		}
		v.mu.Unlock()
	}
}
