package deploy

import (
	"cmp"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/nodeserver/nodeserver/webapps"
)

// The order of versions is one: each is newer than those before it.
func TestVersionsOrder(t *testing.T) {
	order := []string{"", "1", "2", "09", "9", "10", "1.2", "1a", "a"}
	for i, a := range order {
		for j, b := range order {
			if got := newer(a, b); got != cmp.Compare(i, j) {
				t.Errorf("%q and %q: %d", a, b, got)
			}
		}
	}
}

// New users are at the newest version that serves, also while an operator has stopped that one. An app
// with one version is at its path without anything before it.
func TestVersionsOfTable(t *testing.T) { synctest.Test(t, testVersionsOfTable) }

func testVersionsOfTable(t *testing.T) {
	tab := table(t, t.Output(), says("about", ""))
	settings := tab.cfg.Settings
	tab.cfg.Settings = func(app string) Settings {
		s := settings(app)
		s.Session.Path = "/shop/"
		return s
	}
	if err := tab.Deploy([]webapps.App{says("shop##9", "nine"), says("shop##10", "ten")}); err != nil {
		t.Fatal(err)
	}
	tab.Settle()
	for p := range tab.Each() {
		p.Manager().Core.Tick(1)
	}
	for _, halted := range []string{"", "shop##10", "shop##9"} {
		if halted != "" {
			tab.halt(halted, true)
		}
		want := map[string]string{"": "200 ten", "shop##10": "200 nine", "shop##9": "503"}[halted]
		if status, body := get(tab, "/shop/"); status != http.StatusServiceUnavailable && want[4:] != body ||
			status == http.StatusServiceUnavailable && want != "503" {
			t.Errorf("%q is stopped: %d %s, want %s", halted, status, body, want)
		}
	}
	if h := byPath(tab.now.Load().up[:1])["/shop/"]; h != http.Handler(tab.now.Load().up[0]) {
		t.Errorf("one version is served by %T", h)
	}
}
