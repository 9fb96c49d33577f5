package bench_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/nodeserver/nodeserver/webapps/bench"
	"github.com/nodeserver/nodeserver/webapps/webappstest"
)

// Load generators parse these answers: every byte counts. SID stands for the
// session's id.
func TestAnswers(t *testing.T) {
	c := webappstest.New(t, bench.Webapp())
	for _, step := range []struct{ path, want string }{
		{"/raw", "- 0 test\n"},
		{"/count", "- 0 test\n"},
		{"/get", "none -1 test -1\n"},
		{"/all", "none -1 test\n"},
		{"/invalidate", "none -1 test\n"},
		{"/changeid", "none -1 test\n"},
		{"/inc", "SID 1 test\n"},
		{"/inc?acks=all", "SID 2 test\n"},
		{"/get", "SID 2 test -1\n"},
		{"/count", "- 1 test\n"},
		{"/set?n=100", "SID 100 test\n"},
		{"/get", "SID 2 test 100\n"},
		{"/set?n=0", "SID 0 test\n"},
		{"/get", "SID 2 test 0\n"},
		{"/put?k=colour&v=dark+red", "SID 8 test\n"},
		{"/put?k=a&v=", "SID 0 test\n"},
		{"/all", "a=\nblob=0 bytes, sha256 e3b0c44298fc1c14\ncolour=dark red\nn=2\n"},
		{"/changeid", "SID 2 test\n"},
		{"/slow?ms=1", "SID 3 test\n"},
		{"/fill?n=3&bytes=10", "- 3 test\n"},
		{"/count", "- 4 test\n"},
		{"/raw", "- 0 test\n"},
		{"/invalidate", "SID 0 test\n"},
		{"/get", "none -1 test -1\n"},
		{"/count", "- 3 test\n"},
	} {
		sid := "none"
		if s := c.Session(); s != nil {
			sid = s.ID()
		}
		got := c.Get(step.path)
		if s := c.Session(); s != nil {
			sid = s.ID()
		}
		want := strings.Replace(step.want, "SID", sid, 1)
		if got.Status != 200 || got.Body != want {
			t.Fatalf("%s: %d %q, want 200 %q", step.path, got.Status, got.Body, want)
		}
		if n := got.Header.Get("Content-Length"); n != fmt.Sprint(len(want)) {
			t.Errorf("%s: Content-Length %s of %d bytes", step.path, n, len(want))
		}
	}
}

func TestBadArguments(t *testing.T) {
	c := webappstest.New(t, bench.Webapp())
	for path, want := range map[string]string{
		"/set":                     `n="": want a number from 0 to 4194304`,
		"/set?n=-1":                `n="-1": want a number from 0 to 4194304`,
		"/set?n=5000000":           `n="5000000": want a number from 0 to 4194304`,
		"/inc?acks=some":           `acks="some": want async, one, majority or all`,
		"/put?v=x":                 `k="": want an attribute's name`,
		"/fill?n=x&bytes=1":        `n="x": want a number from 0 to 1000000`,
		"/fill?n=1":                `bytes="": want a number from 0 to 4194304`,
		"/slow?ms=1000000000":      `ms="1000000000": want a number from 0 to 600000`,
		"/slow?ms=999999999999999": `ms="999999999999999": want a number from 0 to 600000`,
	} {
		if got := c.Get(path); got.Status != 400 || got.Body != want+"\n" {
			t.Errorf("%s: %d %q, want 400 %q", path, got.Status, got.Body, want)
		}
	}
	if c.Session() != nil {
		t.Error("a refused request made a session")
	}
}

// A value over the node's limit is the app's to report, and changes nothing.
func TestTooLarge(t *testing.T) {
	c := webappstest.New(t, bench.Webapp())
	c.Get("/set?n=7")
	if got := c.Get("/set?n=2000000"); got.Status != 500 || !strings.Contains(got.Body, "limit") {
		t.Errorf("set of 2 MB: %d %q", got.Status, got.Body)
	}
	if got := c.Get("/get"); !strings.HasSuffix(got.Body, " 7\n") {
		t.Errorf("after a refused set: %q", got.Body)
	}
}

func TestParallelIncrements(t *testing.T) {
	c := webappstest.New(t, bench.Webapp())
	c.Get("/inc")
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { c.Get("/inc") })
	}
	all.Wait()
	if got := c.Get("/get").Body; !strings.Contains(got, " 21 ") {
		t.Errorf("after 21 increments: %q", got)
	}
}

func TestUnknownEndpoint(t *testing.T) {
	if got := webappstest.New(t, bench.Webapp()).Get("/nothing"); got.Status != 404 {
		t.Errorf("status %d, want 404", got.Status)
	}
}
