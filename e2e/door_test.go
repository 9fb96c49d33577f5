package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hosting gives a node that is not started yet these of the webapps, and a conf of its own that
// is that of the sample with more at its end.
func (n *node) hosting(t *testing.T, more string, apps ...string) {
	t.Helper()
	dir := t.TempDir()
	for _, app := range apps {
		put(t, filepath.Join(webapp, app+".so"), filepath.Join(dir, app+".so"))
	}
	text, err := os.ReadFile(n.args[2])
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), filepath.Base(n.args[2]))
	sample := strings.ReplaceAll(string(text), `"../`, `"`+filepath.Dir(filepath.Dir(webapp))+"/")
	if err := os.WriteFile(file, []byte(sample+more), 0o600); err != nil {
		t.Fatal(err)
	}
	n.args[2] = file
	n.args = append(n.args, "--set", "webapps.dir="+dir)
}

// fetch asks as a user without cookies.
func (n *node) fetch(path string) (int, string, http.Header, error) {
	res, err := n.client.Get("http://" + n.http + path)
	if err != nil {
		return 0, "", nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), res.Header, err
}

// Two of three nodes host an app, at a path of its own: nobody's request for it goes to the
// third one, whichever of them is killed, and the balancer says what is not there.
func TestDoorKnowsWhereAppsAre(t *testing.T) {
	t.Parallel()
	c := loopback(t)
	const path = "\n[[app]]\nname = \"cart\"\npath = \"/kart/\"\n"
	c[0].hosting(t, path, "counter", "cart")
	c[1].hosting(t, path, "counter", "cart")
	c[2].hosting(t, path, "counter")
	for _, n := range c {
		n.start()
	}
	c.await(t, startLimit)
	d := door(t, c)
	within(t, startLimit, "the balancer knows the apps", func() error {
		status, body, _, err := d.fetch("/")
		listed := strings.Contains(body, `href="/kart/"`) && strings.Contains(body, `href="/counter/"`)
		if err != nil || status != http.StatusOK || !listed {
			return fmt.Errorf("%d %s %w", status, body, err)
		}
		return nil
	})
	ask := func(when, path string, want int) (string, http.Header) {
		t.Helper()
		status, body, header, err := d.fetch(path)
		if err != nil || status != want {
			t.Fatalf("%s: GET %s: %d, want %d: %s %v\n%s", when, path, status, want, body, err, d.log.tail(20))
		}
		return body, header
	}
	for range 60 {
		ask("all are there", "/kart/", http.StatusOK)
	}
	ask("all are there", "/cart/", http.StatusNotFound)
	c[0].kill()
	for range 30 {
		ask("one is killed", "/kart/", http.StatusOK)
		ask("one is killed", "/counter/", http.StatusOK)
	}
	c[1].kill()
	within(t, startLimit, "503 for the app that nobody hosts", func() error {
		status, body, header, err := d.fetch("/kart/")
		says := strings.Contains(body, "the app cart") && header.Get("Retry-After") != ""
		if err != nil || status != http.StatusServiceUnavailable || !says {
			return fmt.Errorf("%d %s %w", status, body, err)
		}
		return nil
	})
	ask("one is left", "/counter/", http.StatusOK)
	c[0].start()
	within(t, 30*time.Second, "the app is back", func() error {
		status, body, _, err := d.fetch("/kart/")
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("%d %s %w", status, body, err)
		}
		return nil
	})
}

// A request is one line in the log of the balancer, and one with the same id in that of the
// node which served it.
func TestRequestInBothLogs(t *testing.T) {
	t.Parallel()
	c := started(t, "http.access_log=json")
	d := door(t, c, "http.access_log=common")
	u := new(user)
	u.ok(t, d, "inc")
	r := u.ok(t, d, "inc").reply(t)
	within(t, startLimit, "both lines", func() error {
		for line := range strings.Lines(d.log.String()) {
			if !strings.Contains(line, `"GET /bench/inc HTTP/1.1" 200`) {
				continue
			}
			fields := strings.Fields(line)
			id, node := fields[len(fields)-1], fields[len(fields)-5]
			for _, n := range c {
				lines, named := n.log.count(`"client":"127.0.0.1","method":"GET"`), n.log.count(`"request_id":"`+id+`"`)
				if n.name == node && node == r.node && lines == 2 && named == 1 {
					return nil
				}
			}
			return fmt.Errorf("%s in no log but this: %s", id, line)
		}
		return errEarly
	})
	for _, n := range append(c, d) {
		if id := u.id(); strings.Contains(n.log.String(), id) {
			t.Errorf("%s logs a session id", n.name)
		}
	}
}

// Balancers side by side agree on who serves a user, since the cookie says so, and one that is
// killed and started again goes on as before.
func TestTwoDoors(t *testing.T) {
	t.Parallel()
	c := started(t)
	doors := []*node{door(t, c), door(t, c)}
	users := make([]user, 20)
	homes := make([]string, len(users))
	for round := range 6 {
		for i := range users {
			r := users[i].ok(t, doors[(round+i)%2], "inc?acks=all").reply(t)
			if round == 0 {
				homes[i] = r.node
			}
			if r.n != round+1 || r.node != homes[i] {
				t.Fatalf("round %d, user %d of %s: %+v", round, i, homes[i], r)
			}
		}
	}
	doors[0].kill()
	for i := range users {
		if r := users[i].ok(t, doors[1], "inc").reply(t); r.n != 7 || r.node != homes[i] {
			t.Fatalf("by the door that is left: user %d of %s: %+v", i, homes[i], r)
		}
	}
	doors[0].start()
	within(t, startLimit, "balancer ready again", func() error {
		if status, body, err := doors[0].ask("/readyz"); err != nil || status != http.StatusOK {
			return fmt.Errorf("%d %s %w", status, body, err)
		}
		return nil
	})
	for i := range users {
		if r := users[i].ok(t, doors[0], "inc").reply(t); r.n != 8 || r.node != homes[i] {
			t.Fatalf("by the door that is back: user %d of %s: %+v", i, homes[i], r)
		}
	}
}
