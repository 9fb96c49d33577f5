package server

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/nodeserver/nodeserver/webapps"
)

// record is what listeners were told, a line each, by node.
type record struct {
	mu    sync.Mutex
	lines []string
}

func (r *record) add(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *record) sorted() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(slices.Values(r.lines))
}

func listening(r *record, everywhere bool) webapps.App {
	app := testApp()
	inner := app.New
	app.New = func(c webapps.Context) (http.Handler, error) {
		say := func(what string) func(webapps.Event) {
			return func(e webapps.Event) { r.add("%s %s remote=%v", c.Node(), what, e.Remote) }
		}
		c.(webapps.Events).Listen(webapps.Listener{
			Everywhere: everywhere, Created: say("created"), IDChanged: say("id changed"),
			AttributeChanged: func(e webapps.Event, name string) { r.add("%s %s changed remote=%v", c.Node(), name, e.Remote) },
			Destroyed: func(e webapps.Event, why webapps.Reason) {
				var n int
				_, err := e.Get("n", &n)
				r.add("%s %s with n=%d remote=%v %v", c.Node(), why, n, e.Remote, err)
			},
		})
		return inner(c)
	}
	return app
}

func TestListenersAreToldOnce(t *testing.T) {
	testListeners(t, false, []string{
		"n1 created remote=false", "n1 id changed remote=false", "n1 n changed remote=false",
		"n2 invalidated with n=1 remote=false <nil>",
	})
}

func TestListenersAreToldEverywhere(t *testing.T) {
	testListeners(t, true, []string{
		"n1 created remote=false", "n1 id changed remote=false", "n1 invalidated with n=1 remote=true <nil>", "n1 n changed remote=false",
		"n2 created remote=true", "n2 id changed remote=true", "n2 invalidated with n=1 remote=false <nil>", "n2 n changed remote=true",
	})
}

func testListeners(t *testing.T, everywhere bool, want []string) {
	t.Helper()
	var r record
	n1 := startNode(t, testConf("n1"), listening(&r, everywhere))
	n2 := startNode(t, testConf("n2", n1.channel()), listening(&r, everywhere))
	n1.waitReady()
	n2.waitReady()
	u := newUser(t)
	u.want(n1, "/test/inc", "1")
	eventually(t, "the session is at n2", func() bool {
		_, got, _ := u.get(n2, "/test/get")
		return got == "1 <nil>"
	})
	u.want(n1, "/test/login", "")
	u.want(n2, "/test/logout", "")
	eventually(t, "the session has ended at n1", func() bool { return n1.server.manager().Stats().Sessions == 0 })
	eventually(t, fmt.Sprintf("events %q, want %q", r.sorted(), want), func() bool { return slices.Equal(r.sorted(), want) })
}
