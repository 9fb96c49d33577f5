package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/deploy"
	"github.com/nodeserver/nodeserver/server/keys"
	"github.com/nodeserver/nodeserver/server/plugins"
	"github.com/nodeserver/nodeserver/webapps"
)

// deploys deploys an app while the node runs.
func (b *bubble) deploys(n *bubbleNode, app webapps.App) {
	b.t.Helper()
	if err := n.server.apps.Add(plugins.Plugin{File: app.Name + ".so", Revision: app.Version, App: app}); err != nil {
		b.t.Fatal(err)
	}
}

// serves tells whether the node has the app test and serves it to users.
func (n *bubbleNode) serves() bool {
	p := n.server.apps.Find("test")
	return p != nil && p.State() == deploy.Serving
}

// An app is deployed at a node while the only member that has its sessions is out of reach, but
// not gone, since a third one reaches it: users are sent on until it is back.
func TestBubbleDeployBesideACut(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		hosts := []string{"n1", "n2", "n3"}
		n1, n2 := b.start("n1", hosts, hello("other"), nil), b.start("n2", hosts, testApp(), nil)
		n3 := b.start("n3", hosts, hello("other"), nil)
		b.within(10*time.Second, "ready", func() bool {
			return n1.server.ready.Load() && n2.server.ready.Load() && n3.server.ready.Load()
		})
		u := b.user()
		u.want(n2.node, "/test/inc", "1")
		b.apart(n3, n2)
		b.within(5*time.Second, "n2 is suspect", func() bool {
			for _, m := range n3.server.status() {
				if m.Name == "n2" && m.State == membership.Suspect {
					return true
				}
			}
			return false
		})
		b.deploys(n3, testApp())
		pass(10 * time.Second)
		status, _, h := u.get(n3.node, "/test/get")
		if n3.serves() || status != http.StatusServiceUnavailable || h.Get("Nodeserver-Retry") != "next" {
			t.Errorf("without the sessions of n2: serves %v, %d", n3.serves(), status)
		}
		if !n3.server.ready.Load() {
			t.Error("the other app is not served meanwhile")
		}
		b.heal(n3, n2)
		b.within(5*time.Second, "served", func() bool { return n3.serves() })
		u.want(n3.node, "/test/inc", "2")
	})
}

// An app comes and goes at all nodes while users write, connections break and nodes are cut off:
// users go where it is served, and each finds all that they have written, as long as one node
// hosts the app.
func TestBubbleAppsUnderFaults(t *testing.T) {
	inBubble(t, func(_ *testing.T, b *bubble) {
		nodes := b.cluster(3, testApp(), func(c *Config) {
			c.Sessions.Freshness, c.Sessions.FreshnessWait = "on", 500*time.Millisecond
		})
		users := b.users(6)
		counts := make([]int, len(users))
		for round := range 12 {
			n := nodes[round%3]
			p := n.server.apps.Find("test")
			n.server.apps.Undeploy(p, "test")
			b.net.Reset(n.host, nodes[(round+1)%3].host)
			for i, u := range users {
				at := nodes[(round+1+i%2)%3] // one that keeps it
				counts[i]++
				u.want(at.node, "/test/inc", fmt.Sprint(counts[i]))
			}
			b.within(10*time.Second, "undeployed", func() bool { return n.server.apps.Find("test") == nil })
			if round%3 == 2 {
				b.apart(n, nodes[(round+1)%3])
				pass(1500 * time.Millisecond)
			}
			b.deploys(n, testApp())
			for i, u := range users {
				at := nodes[(round+1+i%2)%3]
				counts[i]++
				u.want(at.node, "/test/inc", fmt.Sprint(counts[i]))
			}
			b.heal(n, nodes[(round+1)%3])
			b.within(10*time.Second, "served again", func() bool { return n.serves() })
			for i, u := range users {
				u.want(n.node, "/test/get", fmt.Sprint(counts[i], " <nil>"))
			}
			b.whole(10*time.Second, nodes...)
		}
	})
}

// What changes all nodes needs the token, and a folder to keep the files in; nothing else will do.
func TestChangesNeedAToken(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	text := keys.New()
	if err := os.WriteFile(token, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := unstarted(t, testConf("n1"), testApp())
	for _, c := range []struct {
		file, bearer string
		status       int
		text         string
	}{
		{"", "", http.StatusUnauthorized, "token"},
		{token, "", http.StatusUnauthorized, "token"},
		{token, "guess", http.StatusUnauthorized, "token"},
		{token, text, http.StatusConflict, "this node keeps no files: set [node] data_dir"},
	} {
		h, err := admin.Handler(admin.Config{Admin: config.Admin{TokenFile: c.file}}, view{s.Server}, s.apps, nil, discard())
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"", "/test/rollback", "/test/undeploy", "/test/stop", "/test/start"} {
			path = "/api/v1/apps" + path
			r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1"+path, http.NoBody)
			if c.bearer != "" {
				r.Header.Set("Authorization", "Bearer "+c.bearer)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.text) {
				t.Errorf("%s with %q: %d %s", path, c.bearer, w.Code, w.Body)
			}
		}
	}
}
