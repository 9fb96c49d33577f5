package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/admin"
)

// at asks for a path of any app.
func (u *user) at(n *node, path string) (status int, body string, header http.Header, err error) {
	r, err := http.NewRequest(http.MethodGet, "http://"+n.http+path, http.NoBody)
	if err != nil {
		return 0, "", nil, err
	}
	u.send(r)
	w, err := n.client.Do(r)
	if err != nil {
		return 0, "", nil, err
	}
	defer func() { _ = w.Body.Close() }()
	b, err := io.ReadAll(w.Body)
	u.keep(w.Cookies())
	return w.StatusCode, string(b), w.Header, err
}

// app is the app as the node tells of it; its state is empty if it has none.
func (n *node) app(name string) (row admin.AppRow, err error) {
	status, body, err := n.ask("/api/v1/apps")
	var reply admin.AppsReply
	if err == nil && status == http.StatusOK {
		err = json.Unmarshal(body, &reply)
	}
	for _, a := range reply.Apps {
		if a.Name == name {
			row = a
		}
	}
	return row, err
}

// hosting says what is wrong if the nodes don't all see that exactly these host the app, in their
// member lists and their metrics.
func (c cluster) hosting(app string, hosts ...*node) error {
	return all(c, func(n *node) error {
		rows, err := n.members()
		if err != nil {
			return err
		}
		for _, r := range rows {
			want := slices.ContainsFunc(hosts, func(h *node) bool { return h.name == r.Name })
			if slices.Contains(r.Apps, app) != want {
				return fmt.Errorf("%s sees that %s hosts %v", n.name, r.Name, r.Apps)
			}
		}
		self := slices.Contains(hosts, n)
		if status, body, err := n.ask("/readyz"); err != nil || status != http.StatusOK {
			return fmt.Errorf("%s: %d %s %w", n.name, status, body, err)
		}
		row, err := n.app(app)
		if err != nil || (row.State == "serving") != self || (row.State == "") == self {
			return fmt.Errorf("%s: the app is %q %w", n.name, row.State, err)
		}
		_, body, err := n.ask("/metrics")
		text := string(body)
		if up := strings.Contains(text, fmt.Sprintf("nodeserver_app_up{app=%q} 1", app)); err != nil || up != self {
			return fmt.Errorf("%s: metrics say that the app is up: %v %w", n.name, up, err)
		}
		if strings.Contains(text, fmt.Sprintf("nodeserver_sessions{app=%q}", app)) != self {
			return fmt.Errorf("%s: metrics count its sessions", n.name)
		}
		for _, o := range c.but(n) {
			streams := strings.Contains(text, fmt.Sprintf("nodeserver_replication_in_sync{app=%q,member=%q} 1", app, o.name))
			if want := self && slices.Contains(hosts, o); streams != want {
				return fmt.Errorf("%s: the app is in sync with %s: %v", n.name, o.name, streams)
			}
		}
		return nil
	})
}

// An app is deployed on running nodes, undeployed and deployed again, by its file in the watched
// folder, while users are at another one: all that tells of apps follows, sessions are with those
// who host the app and come back to those who host it again, and no user of the other app notices.
func TestAppsComeAndGo(t *testing.T) {
	t.Parallel()
	source := shop("red", "")
	build := filepath.Join(plugin(t, "shop", source), "shop.so")
	other := filepath.Join(plugin(t, "stay", strings.Replace(source, `"shop"`, `"stay"`, 1)), "stay.so")
	c := loopback(t, "webapps.drain=2s")
	var files []string
	for _, n := range c {
		dir := t.TempDir()
		put(t, other, filepath.Join(dir, "stay.so"))
		files = append(files, filepath.Join(dir, "shop.so"))
		n.start("--set", "webapps.dir="+dir)
	}
	c.await(t, startLimit)
	stop := make(chan struct{})
	var others sync.WaitGroup
	for i := range 6 {
		others.Go(func() {
			u := new(user)
			for visits := 1; ; visits++ {
				if visits == 1000 {
					u, visits = new(user), 1
				}
				select {
				case <-stop:
					return
				default:
				}
				status, body, _, err := u.at(c[i%3], "/stay/")
				if err != nil || status != http.StatusOK || body != fmt.Sprintf("red %03d", visits) {
					t.Errorf("the other app: %d %q %v, visit %d", status, body, err, visits)
					return
				}
			}
		})
	}
	u, visits := new(user), 0
	// visit waits until the node serves the app; the first answer then has the user's session.
	visit := func(n *node) {
		t.Helper()
		visits++
		within(t, 20*time.Second, "served by "+n.name, func() error {
			status, body, _, err := u.at(n, "/shop/")
			if err != nil || status == http.StatusNotFound || status == http.StatusServiceUnavailable {
				return fmt.Errorf("%d %s %w", status, body, err)
			}
			if want := fmt.Sprintf("red %03d", visits); status != http.StatusOK || body != want {
				t.Errorf("%s: %d %q, want %q", n.name, status, body, want)
			}
			return nil
		})
	}
	hosted := func(what string, hosts ...*node) {
		t.Helper()
		within(t, 20*time.Second, what, func() error { return c.hosting("shop", hosts...) })
	}
	hosted("nobody hosts it")
	put(t, build, files[0])
	visit(c[0])
	put(t, build, files[1])
	visit(c[1])
	hosted("two host it", c[0], c[1])
	status, body, header, err := new(user).at(c[2], "/shop/")
	if err != nil || status != http.StatusServiceUnavailable || header.Get("Nodeserver-Retry") != "next" {
		t.Errorf("the node that does not host it: %d %q %v %v", status, body, header, err)
	}
	put(t, build, files[2])
	visit(c[2])
	hosted("all host it", c...)

	for round := range 2 {
		waits := make(chan string, 1)
		go func() {
			status, body, _, err := new(user).at(c[0], "/shop/wait")
			waits <- fmt.Sprint(status, " ", body, " ", err)
		}()
		within(t, 10*time.Second, "a request is in flight", func() error {
			if row, err := c[0].app("shop"); err != nil || row.InFlight != 1 {
				return errEarly
			}
			return nil
		})
		if err := os.Remove(files[0]); err != nil {
			t.Fatal(err)
		}
		hosted("the others host it", c[1:]...)
		if got := <-waits; got != "200 red 001 <nil>" {
			t.Errorf("the request in flight: %s", got)
		}
		for _, said := range []string{`msg="cleaned up"`, `msg="app undeployed"`} {
			if got := c[0].log.count(said); got != round+1 {
				t.Errorf("%d times %s after %d undeployments", got, said, round+1)
			}
		}
		visit(c[1])
		visit(c[2])
		put(t, build, files[0])
		visit(c[0])
		hosted("all host it again", c...)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	hosted("nobody hosts it any more")
	if status, body, _, err := u.at(c[0], "/shop/"); err != nil || status != http.StatusNotFound {
		t.Errorf("of an app that nobody hosts: %d %q %v", status, body, err)
	}
	close(stop)
	others.Wait()
	for _, n := range c {
		if got := n.log.count("level=ERROR"); got != 0 {
			t.Errorf("%s: %d complaints", n.name, got)
		}
	}
}
