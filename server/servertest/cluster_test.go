package servertest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/servertest"
	"github.com/nodeserver/nodeserver/webapps"
	"github.com/nodeserver/nodeserver/webapps/counter"
	"github.com/nodeserver/nodeserver/webapps/webappstest"
)

const text = "/?format=text"

func want(t *testing.T, u *servertest.Visitor, path, body string) {
	t.Helper()
	if got := u.Get(path); got.Status != http.StatusOK || got.Body != body {
		t.Fatalf("%s answers %d %q, want %q", path, got.Status, got.Body, body)
	}
}

// The lines of the package's text, with every node killed once.
func TestKillAndRevive(t *testing.T) {
	t.Parallel()
	c := servertest.Start(t, 3, counter.Webapp())
	u := c.Visitor()
	want(t, u, text, "1 n1\n")
	want(t, u, text, "2 n1\n")
	c.Kill(0)
	c.Kill(0)
	want(t, u, text, "3 n2\n")
	c.Revive(0)
	c.Revive(0)
	want(t, u.At(1), text, "4 n2\n")
	c.Kill(1)
	want(t, u, text, "5 n1\n") // from what it got back
	c.Revive(1)
	c.Kill(2)
	c.Kill(0)
	want(t, u, text, "6 n2\n")
}

func TestStopIsOrderly(t *testing.T) {
	t.Parallel()
	c := servertest.Start(t, 2, counter.Webapp(), func(c *config.Config) { c.Replication.Acks = "async" })
	u := c.Visitor()
	for n := range 50 {
		want(t, u, text, fmt.Sprintf("%d n1\n", n+1))
	}
	c.Stop(0) // must hand over the last change, though nobody waited for it
	want(t, u, text, "51 n2\n")
	c.Revive(0)
	want(t, u.At(0), text, "52 n1\n")
}

// stuck is an app whose /wait doesn't answer at the nodes n1: it reports that it
// is there, and then that its request is over.
func stuck(at chan<- string) webapps.App {
	return webapps.App{Name: "stuck", New: func(c webapps.Context) (http.Handler, error) {
		mux := http.NewServeMux()
		mux.HandleFunc("/wait", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // else its connection's end is not noticed
			if c.Node() == "n1" {
				at <- "in"
				<-r.Context().Done()
				at <- "out"
			}
			fmt.Fprint(w, c.Node())
		})
		return mux, nil
	}}
}

// A kill breaks off what is under way. What may be repeated goes to the next
// node, what may not is a 502, as from a balancer.
func TestKillBreaksRequestsOff(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		method, body string
		status       int
		answer       string
	}{
		{http.MethodGet, "", 200, "n2"},
		{http.MethodPut, "", 200, "n2"},
		{http.MethodPost, "", 502, "servertest: node n1: "},
		{http.MethodPut, "x", 502, "servertest: node n1: "},
	} {
		t.Run(tt.method+tt.body, func(t *testing.T) {
			t.Parallel()
			at := make(chan string)
			c := servertest.Start(t, 2, stuck(at))
			got := make(chan webappstest.Response)
			go func() {
				r := httptest.NewRequest(tt.method, "/wait", strings.NewReader(tt.body))
				got <- c.Visitor().Do(r)
			}()
			<-at
			c.Kill(0)
			<-at
			if res := <-got; res.Status != tt.status || !strings.HasPrefix(res.Body, tt.answer) {
				t.Errorf("%d %q, want %d %q", res.Status, res.Body, tt.status, tt.answer)
			}
		})
	}
}

// The others learn of a kill because the connections break, long before
// heartbeats would tell: so what the dead node dialled was cut, too. It never
// said that it leaves.
func TestKillIsNoticed(t *testing.T) {
	t.Parallel()
	slow := func(c *config.Config) {
		c.Channel.SuspectAfter, c.Channel.DownAfter = time.Minute, 3*time.Minute
	}
	c := servertest.Start(t, 3, counter.Webapp(), slow)
	u := c.Visitor()
	want(t, u, text, "1 n1\n")
	c.Kill(0)
	began := time.Now()
	for n := range 5 {
		want(t, u, text, fmt.Sprintf("%d n2\n", n+2)) // acks of all are waited for
	}
	if d := time.Since(began); d > 4*time.Second {
		t.Errorf("five requests took %v after the kill: the others wait for the dead", d)
	}
}

func TestNobodyLeft(t *testing.T) {
	t.Parallel()
	c := servertest.Start(t, 2, counter.Webapp())
	u := c.Visitor()
	c.Kill(0)
	c.Stop(1)
	if got := u.Get(text); got.Status != 503 || !strings.HasPrefix(got.Body, "servertest: node n2: ") {
		t.Errorf("%d %q", got.Status, got.Body)
	}
	c.Revive(1)
	if got := u.At(0).Get(text); got.Status != 503 {
		t.Errorf("a dead node answers %d %q", got.Status, got.Body)
	}
	want(t, u, text, "1 n2\n")
}

// An app at a path of its own, with settings, on a single node.
func TestConfig(t *testing.T) {
	t.Parallel()
	app := webapps.App{Name: "a", New: func(c webapps.Context) (http.Handler, error) {
		var s struct{ Greeting string }
		if err := c.Config(&s); err != nil {
			return nil, err
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, s.Greeting, " ", r.Method, r.URL.Path, " ", r.FormValue("k"))
		}), nil
	}}
	c := servertest.Start(t, 1, app, func(c *config.Config) {
		c.Apps = []config.App{{Name: "a", Path: "/shop/", Config: map[string]any{"Greeting": "hello"}}}
	})
	u := c.Visitor()
	want(t, u, "/x%2Fy?k=v", "hello GET/x/y v")
	if got := u.PostForm("/p", url.Values{"k": {"v"}}).Body; got != "hello POST/p v" {
		t.Errorf("a form: %q", got)
	}
	if !strings.HasPrefix(c.URL(0), "http://127.0.0.1:") || !strings.HasSuffix(c.URL(0), "/shop/") || c.Name(0) != "n1" {
		t.Errorf("node %s at %s", c.Name(0), c.URL(0))
	}
}
