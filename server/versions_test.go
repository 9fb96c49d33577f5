package server

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/plugins"
	"github.com/nodeserver/nodeserver/webapps"
)

// version is the app test that says which version it is, and counts.
func version(v string) webapps.App {
	return webapps.App{Name: "test##" + v, Version: v, New: func(c webapps.Context) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var n int
			if err := webapps.SessionOf(r).Update("n", &n, func() error { n++; return nil }); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			fmt.Fprint(w, c.Name(), " ", v, " ", n)
		}), nil
	}}
}

// A new version is deployed beside the one that serves: who has a session stays at its version, at
// every node and after a failover; who comes is at the newest, which is 10 and not 9. A version that is
// left by its last user goes, and its path stays.
func TestBubbleVersions(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		nodes := b.cluster(2, version("9"), func(c *Config) {
			c.Sessions.Freshness, c.Sessions.FreshnessWait = "on", 500*time.Millisecond
			c.Sessions.MaxInactive = 3 * time.Minute
		})
		n1, n2 := nodes[0], nodes[1]
		old := b.user()
		old.want(n1.node, "/test/", "test 9 1")
		for _, n := range nodes {
			app := version("10")
			if err := n.server.apps.Add(plugins.Plugin{File: app.Name + ".so", Revision: "10", App: app}); err != nil {
				t.Fatal(err)
			}
		}
		b.within(10*time.Second, "both versions serve", func() bool {
			for _, n := range nodes {
				for _, m := range n.server.status() {
					if len(m.Apps) != 2 || m.Path("test##10") != "/test/" {
						return false
					}
				}
			}
			return true
		})
		fresh := b.user()
		fresh.want(n2.node, "/test/", "test 10 1")
		for i := range 4 { // at once after each other, so at the other node only freshness finds it
			n := nodes[i%2]
			old.want(n.node, "/test/", fmt.Sprint("test 9 ", 2+i))
			fresh.want(n.node, "/test/", fmt.Sprint("test 10 ", 2+i))
		}
		b.crash(n1)
		old.want(n2.node, "/test/", "test 9 6")
		fresh.want(n2.node, "/test/", "test 10 6")
		gone := func() bool { return n2.server.apps.Find("test##9") == nil }
		for range 10 { // for longer than a session lives unused
			pass(time.Minute)
			old.get(n2.node, "/test/")
			fresh.get(n2.node, "/test/")
			if gone() {
				t.Fatal("a version has gone that has a session")
			}
		}
		for range 10 {
			pass(time.Minute)
			fresh.get(n2.node, "/test/")
		}
		b.within(10*time.Second, "the old version has gone", gone)
		fresh.want(n2.node, "/test/", "test 10 27")
		old.want(n2.node, "/test/", "test 10 1")
	})
}
