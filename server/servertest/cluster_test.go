package servertest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server"
	"github.com/nodeserver/nodeserver/server/servertest"
	"github.com/nodeserver/nodeserver/webapps"
	"github.com/nodeserver/nodeserver/webapps/counter"
)

const text = "/?format=text"

func want(t *testing.T, u *servertest.Visitor, path, body string) {
	t.Helper()
	if got := u.Get(path); got.Status != http.StatusOK || got.Body != body {
		t.Fatalf("%s answers %d %q, want %q", path, got.Status, got.Body, body)
	}
}

// The ten lines of the package's text, with every node killed once.
func TestKillAndRevive(t *testing.T) {
	c := servertest.Start(t, 3, counter.Webapp())
	u := c.Visitor()
	want(t, u, text, "1 n1\n")
	want(t, u, text, "2 n1\n")
	c.Kill(0)
	want(t, u, text, "3 n2\n")
	c.Revive(0)
	want(t, u, text, "4 n2\n") // his cookie says so
	c.Kill(1)
	want(t, u, text, "5 n1\n") // from what it got back
	c.Revive(1)
	c.Kill(2)
	c.Kill(0)
	want(t, u, text, "6 n2\n")
}

func TestStopIsOrderly(t *testing.T) {
	c := servertest.Start(t, 2, counter.Webapp(), func(c *server.Config) { c.Replication.Acks = "async" })
	u := c.Visitor()
	for n := range 50 {
		want(t, u, text, fmt.Sprintf("%d n1\n", n+1))
	}
	c.Stop(0) // must hand over the last change, though nobody waited for it
	want(t, u, text, "51 n2\n")
}

var _ = []any{httptest.NewRequest, url.Parse, strings.Fields, sync.OnceFunc, time.Now, webapps.Get[int]}
