package server

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/operators"
)

// guarded is what answers operators of a node in a bubble.
func guarded(t *testing.T, n *bubbleNode) *operators.Guard {
	t.Helper()
	guard, _, err := n.server.operators()
	if err != nil {
		t.Fatal(err)
	}
	return guard
}

// looks gets a page for operators, and reads it.
func looks(t *testing.T, guard http.Handler, path string, into any) {
	t.Helper()
	w := httptest.NewRecorder()
	guard.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://127.0.0.1"+path, http.NoBody))
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%s: %d %v %q", path, w.Code, err, w.Body)
	}
}

// Each node tells what all say of themselves, and how each sees the others.
func TestClusterView(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		nodes := b.cluster(3, testApp(), nil)
		b.user().want(nodes[0].node, "/test/inc", "1")
		b.whole(time.Second, nodes...)
		var view admin.ClusterReply
		looks(t, guarded(t, nodes[1]), "/api/v1/cluster", &view)
		if view.Schema != "nodeserver.cluster/1" || view.Node != "n2" || len(view.Nodes) != 3 {
			t.Fatalf("%+v", view)
		}
		for i, n := range view.Nodes {
			r := n.Report
			if r == nil {
				t.Fatalf("%s: no report: %s", n.Name, n.Problem)
			}
			if n.Name != nodes[i].host || n.State != "alive" || n.Self != (i == 1) || r.Node != n.Name || r.Incarnation != n.Incarnation {
				t.Errorf("%+v, report of %s %s", n, r.Node, r.Incarnation)
			}
			if !r.Ready || r.Draining || len(r.Members) != 3 || r.ConfDigest != view.Nodes[0].Report.ConfDigest || r.ConfDigest == "" {
				t.Errorf("%+v", r)
			}
			if len(r.Apps) != 1 || r.Apps[0].Name != "test" || r.Apps[0].State != "serving" || r.Apps[0].Sessions != 1 {
				t.Errorf("%s: apps %+v", n.Name, r.Apps)
			}
			for _, m := range r.Members {
				if m.State != "alive" || !m.Ready || m.Self != (m.Name == n.Name) {
					t.Errorf("%s sees %+v", n.Name, m)
				}
			}
		}
	})
}

// A node that hangs is told as one that does not answer, and makes the view no later than 1 s.
// A node that is gone is in it, too, and so is one that only others see.
func TestClusterViewBesideANodeThatHangs(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		nodes := b.cluster(3, testApp(), nil)
		guard := guarded(t, nodes[0])
		row := func(name string, most time.Duration) admin.NodeRow {
			t.Helper()
			begin := time.Now()
			var view admin.ClusterReply
			looks(t, guard, "/api/v1/cluster", &view)
			if took := time.Since(begin); took > most {
				t.Errorf("the view took %v, want %v at most", took, most)
			}
			for _, n := range view.Nodes {
				if n.Name == name {
					return n
				}
			}
			t.Fatalf("%s is left out: %+v", name, view)
			return admin.NodeRow{}
		}
		b.apart(nodes[2], nodes[:2]...) // nothing refuses: what is sent there gets no answer
		if n := row("n3", time.Second); n.Report != nil || n.Problem != "no answer within 1s" {
			t.Errorf("hangs: %+v", n)
		}
		pass(5 * time.Second)
		if n := row("n3", 100*time.Millisecond); n.State != "gone" || n.Problem != "it is gone" {
			t.Errorf("gone: %+v", n)
		}
		b.heal(nodes[2], nodes[:2]...)
		b.whole(10*time.Second, nodes...)
		nodes[2].stop()
		pass(time.Second)
		if n := row("n3", 100*time.Millisecond); !n.Left || n.Problem != "it has left" {
			t.Errorf("left: %+v", n)
		}
	})
}

// What must differ between nodes leaves the digest of the conf as it is; anything else does not,
// and no secret of an app can be guessed from it.
func TestConfDigest(t *testing.T) {
	digest := func(change func(*Config)) string {
		c := testConf("n1")
		change(&c)
		return (&Server{cfg: c}).confDigest()
	}
	app := func(key, value string) func(*Config) {
		return func(c *Config) { c.Apps = append(c.Apps, appConfig(key, value)) }
	}
	same := digest(func(*Config) {})
	if len(same) != 12 || strings.Trim(same, "0123456789abcdef") != "" {
		t.Errorf("digest %q", same)
	}
	if got := digest(func(c *Config) { c.Node.Name, c.HTTP.Address, c.Channel.Address = "n2", "127.0.0.1:1", "127.0.0.1:2" }); got != same {
		t.Error("names and addresses count")
	}
	for what, change := range map[string]func(*Config){
		"acks": acksOf("all"), "an app's key": app("a", ""), "lifetime": func(c *Config) { c.Sessions.AbsoluteLifetime++ },
	} {
		if digest(change) == same {
			t.Errorf("%s does not count", what)
		}
	}
	if digest(app("a", "one")) != digest(app("a", "two")) {
		t.Error("a value of an app counts")
	}
}

func appConfig(key, value string) config.App {
	return config.App{Name: "test", Config: map[string]any{key: value}}
}
