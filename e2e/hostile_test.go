package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A request whose handler ends the process reaches two nodes at most through the front
// door, and another one for its path one more at most: it is not sent on from node to node
// until none is left.
func TestPoisonousRequest(t *testing.T) {
	t.Parallel()
	apps := plugin(t, "poison", `
func Webapp() webapps.App {
	return webapps.App{Name: "poison", New: func(webapps.Context) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { os.Exit(3) }), nil
	}}
}
`)
	if err := os.Link(filepath.Join(webapp, "bench.so"), filepath.Join(apps, "bench.so")); err != nil {
		t.Fatal(err)
	}
	c := started(t, "webapps.dir="+apps)
	d := door(t, c)
	u := new(user)
	u.ok(t, d, "inc?acks=all")
	alive := func() (n int) {
		for _, node := range c {
			select {
			case <-node.done:
			default:
				n++
			}
		}
		return n
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+d.http+"/poison/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := d.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	within(t, 5*time.Second, "two nodes ended, and the balancer's word on it", func() error {
		if n := alive(); n > 1 || !strings.Contains(d.log.String(), "a request broke two nodes") {
			return fmt.Errorf("%d live; log: %s", n, d.log.tail(3))
		}
		return nil
	})
	if res.StatusCode != http.StatusBadGateway {
		t.Errorf("status %d", res.StatusCode)
	}
	within(t, 5*time.Second, "the user served by the node that is left", func() error {
		a, err := u.get(d, "inc")
		if err != nil || a.status != http.StatusOK {
			return fmt.Errorf("%d %w", a.status, err)
		}
		if got := a.reply(t); got.n != 2 {
			t.Errorf("the counter goes on with %d", got.n)
		}
		return nil
	})
	if n := alive(); n != 1 {
		t.Errorf("%d of 3 nodes live", n)
	}
}

// A cookie that was planted before a login is used on another node without pause: when the
// login's answer is out, it opens nothing there, nor anywhere.
func TestPlantedCookieOnRealNodes(t *testing.T) {
	t.Parallel()
	c := started(t)
	for round := range 20 {
		u := new(user)
		u.ok(t, c[0], "inc?acks=all")
		thief := u.stranger()
		planted := thief.jar["NSESSIONID"]
		spy := func() *user { return &user{jar: map[string]string{"NSESSIONID": planted}} }
		shows := func(n *node) error { return spy().has(n, noSession) }
		var stop atomic.Bool
		var attack sync.WaitGroup
		for _, n := range c[1:] {
			attack.Go(func() {
				for !stop.Load() {
					_, err := spy().get(n, "put?k=x&v=planted")
					got, err2 := spy().get(n, "all")
					if err := errors.Join(err, err2); err != nil || strings.Contains(got.body, "secret") {
						t.Errorf("round %d: %s shows what came after the login: %q, %v", round, n.name, got.body, err)
						return
					}
				}
			})
		}
		a := u.ok(t, c[0], "changeid")
		u.ok(t, c[0], "put?k=secret&v=mine")
		if applied, need, _ := strings.Cut(a.header.Get("Nodeserver-Replicated"), "/"); applied != need { // said, and soon true
			within(t, 5*time.Second, "the login known everywhere", func() error { return all(c, shows) })
		}
		if err := all(c, shows); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		stop.Store(true)
		attack.Wait()
	}
}
