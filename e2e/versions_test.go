package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A second version of an app is deployed on all nodes beside the first: who has a session stays at the
// first, at every node, new users are at the second. When the first has no session any more, it goes
// from all nodes.
func TestVersions(t *testing.T) {
	t.Parallel()
	builds := shopBuilds(t, "", "red", "green")
	dir := t.TempDir()
	for i, b := range builds {
		versioned := filepath.Join(dir, fmt.Sprintf("shop##%d.so", i+1))
		if err := os.Symlink(b, versioned); err != nil {
			t.Fatal(err)
		}
		builds[i] = versioned
	}
	c, operate := farm(t)
	if out, err := operate(c[0], "deploy", builds[0]); err != nil || !strings.Contains(out, "shop##1") {
		t.Fatalf("%v\n%s", err, out)
	}
	old := new(user)
	says := func(u *user, n *node, want string) {
		t.Helper()
		if status, body, _, err := u.at(n, "/shop/"); err != nil || status != http.StatusOK || body != want {
			t.Errorf("%s: %d %q %v, want %s", n.name, status, body, err, want)
		}
	}
	says(old, c[0], "red 001")
	if out, err := operate(c[1], "deploy", builds[1]); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	within(t, 20*time.Second, "all serve both", func() error { return all(c, func(*node) error { return c.hosting("shop##2", c...) }) })
	fresh := new(user)
	for i := range 6 {
		says(old, c[i%3], fmt.Sprintf("red %03d", i+2))
		says(fresh, c[i%3], fmt.Sprintf("green %03d", i+1))
	}
	if out, err := operate(c[2], "list"); err != nil || strings.Count(out, "shop##1") != 3 || strings.Count(out, "shop##2") != 3 {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := operate(c[2], "undeploy", "shop##1", "--json"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	within(t, 20*time.Second, "the first is gone", func() error { return c.hosting("shop##1") })
	says(fresh, c[1], "green 007")
	says(old, c[1], "green 001")

	if out, err := operate(c[0], "deploy", builds[0]); err != nil { // without a session, and not the newest
		t.Fatalf("%v\n%s", err, out)
	}
	says(fresh, c[0], "green 008")
	within(t, 20*time.Second, "it is back", func() error { return c.hosting("shop##1", c...) })
	within(t, 2*time.Minute, "nobody uses it, so it goes", func() error { return c.hosting("shop##1") })
	says(fresh, c[2], "green 009")
}
