package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/deploy"
)

// An app is stopped at one node and started at another: meanwhile all nodes answer 503 in its
// place, also one that has restarted, and one that could not hear of it; no node says that it hosts
// the app, and the sessions stay.
func TestBubbleAppStopped(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		dirs := map[string]string{"n1": t.TempDir(), "n2": t.TempDir(), "n3": t.TempDir()}
		keeps := func(c *Config) { c.Node.DataDir = dirs[c.Node.Name] }
		nodes := b.cluster(3, testApp(), keeps)
		n1, n2, n3 := nodes[0], nodes[1], nodes[2]
		q := deploy.Request{Operator: "ann", Step: func(_, _ string) {}}
		u := b.user()
		u.want(n1.node, "/test/inc", "1")

		stopped := func(n *bubbleNode) error {
			status, body, h := u.get(n.node, "/test/get")
			p := n.server.apps.Find("test")
			if status != http.StatusServiceUnavailable || !strings.Contains(body, "stopped by an operator") ||
				h.Get("Retry-After") == "" || h.Get("Nodeserver-Retry") != "" || p == nil || p.State() != deploy.Stopped ||
				len(n.server.apps.Names()) != 0 {
				return fmt.Errorf("%s: %d %q %v, %v", n.host, status, body, h, n.server.apps.Names())
			}
			return nil
		}
		if _, err := n1.server.farm.Stop(t.Context(), "ghost", q); err == nil || !strings.Contains(err.Error(), `an app "ghost"`) {
			t.Errorf("stop of no app: %v", err)
		}
		b.apart(n3, n1, n2)
		b.within(10*time.Second, "n3 is missed", func() bool {
			_, err := n1.server.farm.Stop(t.Context(), "test", q)
			return err != nil && strings.Contains(err.Error(), "n3: can't be reached")
		})
		u.want(n2.node, "/test/inc", "2")
		skip := q
		skip.SkipUnreachable = true
		if e, err := n1.server.farm.Stop(t.Context(), "test", skip); err != nil || !e.Stopped || e.By != "ann" {
			t.Fatalf("%+v %v", e, err)
		}
		for _, n := range nodes[:2] {
			if err := stopped(n); err != nil {
				t.Error(err)
			}
		}
		b.heal(n3, n1, n2)
		b.within(20*time.Second, "n3 follows", func() bool { return stopped(n3) == nil })
		b.whole(20*time.Second, nodes...)
		b.within(10*time.Second, "no node is known to host the app", func() bool {
			for _, n := range nodes {
				for _, m := range n.server.status() {
					if m.Hosts("test") {
						return false
					}
				}
			}
			return true
		})
		n2.stop()
		n2 = b.start("n4", []string{"n1", "n2", "n3", "n4"}, testApp(), func(c *Config) { c.Node.DataDir = dirs["n2"] })
		if err := stopped(n2); err != nil {
			t.Errorf("as soon as it starts: %v", err)
		}
		b.whole(20*time.Second, n1, n2, n3)
		if err := stopped(n2); err != nil {
			t.Errorf("after a restart: %v", err)
		}
		if _, err := n3.server.farm.Start(context.Background(), "test", q); err != nil {
			t.Fatal(err)
		}
		for i, n := range []*bubbleNode{n1, n2, n3} {
			u.want(n.node, "/test/inc", fmt.Sprint(3+i))
			if !n.serves() {
				t.Errorf("%s does not serve", n.host)
			}
			b.whole(10*time.Second, n1, n2, n3)
		}
	})
}
