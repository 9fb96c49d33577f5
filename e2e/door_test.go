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
// third one, whichever of them is killed, and the front door says what is not there.
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
	within(t, startLimit, "the front door knows the apps", func() error {
		status, body, _, err := d.fetch("/")
		if err != nil || status != http.StatusOK || !strings.Contains(body, `href="/kart/"`) || !strings.Contains(body, `href="/counter/"`) {
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
		if err != nil || status != http.StatusServiceUnavailable || !strings.Contains(body, "the app cart") || header.Get("Retry-After") == "" {
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
