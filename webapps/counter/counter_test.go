package counter_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/webapps/counter"
	"github.com/nodeserver/nodeserver/webapps/webappstest"
)

func TestText(t *testing.T) {
	c := webappstest.New(t, counter.Webapp())
	for _, want := range []string{"1 test\n", "2 test\n"} {
		if got := c.Get("/?format=text").Body; got != want {
			t.Errorf("body %q, want %q", got, want)
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
	r.Header.Set("Accept", "text/plain")
	if got := c.Do(r).Body; got != "3 test\n" {
		t.Errorf("asked by Accept: %q", got)
	}
	if got := c.Another().Get("/?format=text").Body; got != "1 test\n" {
		t.Errorf("another user: %q", got)
	}
}

func TestPage(t *testing.T) {
	c := webappstest.New(t, counter.Webapp())
	c.Get("/")
	page := c.Get("/")
	if !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") {
		t.Errorf("Content-Type %q", page.Header.Get("Content-Type"))
	}
	for _, part := range []string{"<h1>2</h1>", "<dd>test</dd>", "<dd>" + c.Session().ID() + "</dd>", "<dd>0s</dd>"} {
		if !strings.Contains(page.Body, part) {
			t.Errorf("the page lacks %s:\n%s", part, page.Body)
		}
	}
}

// A browser that asks for an icon must not count as a visit.
func TestOnlyTheFirstPageCounts(t *testing.T) {
	c := webappstest.New(t, counter.Webapp())
	if got := c.Get("/favicon.ico"); got.Status != 404 || c.Session() != nil {
		t.Errorf("favicon: status %d, session %v", got.Status, c.Session())
	}
}

// A value of another type, left by another version of the app, is an error
// the user sees, not a count that starts over.
func TestForeignValue(t *testing.T) {
	c := webappstest.New(t, counter.Webapp())
	c.Get("/")
	s := c.Session()
	if err := s.Set("n", "many"); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := c.Get("/"); got.Status != 500 || got.Body != "the visit could not be counted\n" {
		t.Errorf("%d %q", got.Status, got.Body)
	}
}
