package balance_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/server/balance"
	"github.com/nodeserver/nodeserver/server/internal/headers"
)

// hosting is a list of backends, each with what it hosts as NAME=PATH.
func hosting(apps map[*backend][]string) (list []balance.Node) {
	for b, hosted := range apps {
		n := balance.Node{Name: b.name, Address: b.addr, Use: balance.Full, Apps: []balance.App{}}
		for _, a := range hosted {
			name, path, _ := strings.Cut(a, "=")
			n.Apps = append(n.Apps, balance.App{Name: name, Path: path})
		}
		list = append(list, n)
	}
	return list
}

func fetch(t *testing.T, url string, cookies ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cookies {
		r.AddCookie(&http.Cookie{Name: "NSESSIONID", Value: c})
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// A request goes only where the app of its path is, new users', those of other nodes and those
// that a broken connection moves alike.
func TestRequestsGoWhereTheirAppIs(t *testing.T) {
	a, b, c := newBackend(t, "a"), newBackend(t, "b"), newBackend(t, "c")
	source := make(told)
	d := openWith(t, balance.Config{ListApps: true}, source)
	if res, body := fetch(t, d.url+"/shop/"); res.StatusCode != http.StatusServiceUnavailable ||
		!strings.Contains(body, "no node of the cluster") {
		t.Errorf("before any node is known: %d %s", res.StatusCode, body)
	}
	all := map[*backend][]string{a: {"shop=/shop/", "cart=/kart/"}, b: {"shop=/shop/"}, c: nil}
	source <- hosting(all)
	until(t, "nodes are known", func() bool { return d.log.count("node added") == 3 })
	for i := range 40 {
		if _, body := fetch(t, d.url+"/shop/x"); body != "a " && body != "b " {
			t.Fatalf("request %d of a new user went to %q", i, body)
		}
		if _, body := fetch(t, d.url+"/kart/x", "x.b"); body != "a " {
			t.Fatalf("request %d of a user of b went to %q", i, body)
		}
		if _, body := fetch(t, d.url+"/shop/x", "x.c"); body != "a " && body != "b " {
			t.Fatalf("request %d of a user of c went to %q", i, body)
		}
	}
	b.kill()
	for range 10 {
		if _, body := fetch(t, d.url+"/shop/x", "x.b"); body != "a " {
			t.Fatalf("after the end of its node a request went to %q", body)
		}
	}

	if res, body := fetch(t, d.url+"/other/"); res.StatusCode != http.StatusNotFound || body != "404: no app is served at this path.\n" {
		t.Errorf("an unknown path: %d %s", res.StatusCode, body)
	}
	res, body := fetch(t, d.url+"/")
	if res.StatusCode != http.StatusOK || !strings.Contains(body, `<a href="/kart/">cart</a>`) || strings.Count(body, "<li>") != 2 {
		t.Errorf("the list of apps: %d %s", res.StatusCode, body)
	}

	all[a] = []string{"shop=/shop/"}
	all[c] = []string{"news=/news/"}
	source <- hosting(all)
	source <- hosting(all) // the first one has been taken over
	if _, body := fetch(t, d.url+"/news/"); body != "c " {
		t.Errorf("an app that has come: %q", body)
	}
	res, body = fetch(t, d.url+"/kart/", "x.a")
	if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "the app cart") || res.Header.Get("Retry-After") == "" {
		t.Errorf("an app that has gone: %d %s %v", res.StatusCode, body, res.Header)
	}
	if n := a.hits.Load() + b.hits.Load() + c.hits.Load(); n != 131 {
		t.Errorf("nodes saw %d requests, want 131", n)
	}
	for path, want := range map[string]int{headers.ReadyPath: http.StatusOK, "/-/else": http.StatusNotFound} {
		if res, _ := fetch(t, d.url+path); res.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, res.StatusCode, want)
		}
	}
}

func TestNoListOfApps(t *testing.T) {
	a := newBackend(t, "a")
	source := make(told)
	d := open(t, source)
	source <- hosting(map[*backend][]string{a: {"shop=/shop/"}})
	until(t, "nodes are known", func() bool { return d.log.count("node added") == 1 })
	if res, body := fetch(t, d.url+"/"); res.StatusCode != http.StatusNotFound || strings.Contains(body, "shop") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	source <- hosting(map[*backend][]string{a: {"shop=/shop/", "root=/"}})
	source <- hosting(map[*backend][]string{a: {"shop=/shop/", "root=/"}})
	if _, body := fetch(t, d.url+"/x"); body != "a " {
		t.Errorf("the app of the path /: %q", body)
	}
}
