package demo

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"time"
)

// visitor is one user with a browser: he counts, thinks, counts again.
type visitor struct {
	number int
	client *http.Client
	ledger *ledger
	think  time.Duration

	mu      sync.Mutex
	home    string // node of the last answer
	last    int    // count of the last answer
	session string // id in the cookie, without the route; a secret
	moving  string // killed home; cleared by the first answer from elsewhere
}

const answerLimit = 10 * time.Second

func newVisitors(n int, think time.Duration, l *ledger) (list []*visitor) {
	shared := &http.Transport{MaxIdleConnsPerHost: n, DisableCompression: true}
	for i := range n {
		jar, _ := cookiejar.New(nil) // no options, no error
		list = append(list, &visitor{
			number: i + 1, ledger: l, think: think,
			client: &http.Client{Transport: shared, Jar: jar, Timeout: answerLimit},
		})
	}
	return list
}

// drive lets all visitors count at the address until ctx ends, and returns when
// all have had their last answer.
func drive(ctx context.Context, visitors []*visitor, addr string) {
	var all sync.WaitGroup
	for _, v := range visitors {
		all.Go(func() {
			pause := time.Duration(rand.Int64N(int64(v.think) + 1)) // not all at once
			for sleep(ctx, pause) {
				v.visit(addr)
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

// visit asks once and enters what it finds. The request isn't tied to the
// drive's end: what was asked is to be answered.
func (v *visitor) visit(addr string) {
	w := wait{asked: time.Now()}
	n, node, confirmed, err := v.ask(addr)
	w.answered, w.node = time.Now(), node
	if err != nil {
		v.ledger.failed(v.number, err.Error())
		return
	}
	if !confirmed {
		v.ledger.unconfirmed()
	}
	session := v.sessionID(addr)
	v.mu.Lock()
	last, same, moved := v.last, session == v.session, v.moving != "" && node != v.moving
	v.last, v.session, v.home = n, session, node
	if moved {
		v.moving = ""
	}
	v.mu.Unlock()
	v.ledger.answer(v.number, last, n, same, w)
	if moved {
		v.ledger.moved(w)
	}
}

// ask gets the counter's page as text: "COUNT NODE".
func (v *visitor) ask(addr string) (n int, node string, confirmed bool, err error) {
	res, err := v.client.Get("http://" + addr + path + "?format=text") //nolint:noctx // the client has a timeout
	if err != nil {
		return 0, "", false, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	if err != nil {
		return 0, "", false, fmt.Errorf("read the answer of %s: %w", addr, err)
	}
	if res.StatusCode != http.StatusOK {
		return 0, "", false, fmt.Errorf("status %d: %s", res.StatusCode, strings.TrimSpace(string(body)))
	}
	if _, err := fmt.Sscanf(string(body), "%d %s", &n, &node); err != nil {
		return 0, "", false, fmt.Errorf("answer %q is not COUNT NODE", body)
	}
	return n, node, res.Header.Get("Nodeserver-Replicated") == "", nil
}

const path = "/counter/"

// sessionID is the visitor's session as his cookie names it, without the route.
func (v *visitor) sessionID(addr string) string {
	for _, c := range v.client.Jar.Cookies(&url.URL{Scheme: "http", Host: addr, Path: path}) {
		if c.Name == cookieName {
			if i := strings.LastIndexByte(c.Value, '.'); i >= 0 {
				return c.Value[:i]
			}
			return c.Value
		}
	}
	return ""
}

const cookieName = "NSESSIONID"

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
