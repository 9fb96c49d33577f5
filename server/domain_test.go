package server

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/admin"
)

// memberRows is what operators are told of the members.
func memberRows(t *testing.T, s *Server) []admin.MemberRow {
	t.Helper()
	h, _, err := s.operators()
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/api/v1/members", http.NoBody))
	var reply admin.MembersReply
	if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil {
		t.Fatal(err)
	}
	return reply.Members
}

// Members of another domain are seen, and that is all: no session goes there, no
// write waits for them, and nobody is unready because of them.
func TestDomainsShareNoSessions(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		in := func(domain string) func(*Config) {
			return func(c *Config) {
				c.Cluster.Domain, c.Membership.Expect = domain, 2
				c.Replication.Acks, c.Replication.AckTimeout = "all", 5*time.Second
			}
		}
		all := []string{"n1", "n2", "n3", "n4"}
		east := []*bubbleNode{b.start("n1", all, testApp(), in("east")), b.start("n2", all, testApp(), in("east"))}
		west := []*bubbleNode{b.start("n3", all, testApp(), in("west")), b.start("n4", all, testApp(), in("west"))}
		for _, n := range append(east, west...) {
			b.within(5*time.Second, n.host+" ready", func() bool {
				if !n.server.ready.Load() {
					return false
				}
				rows := memberRows(t, n.server)
				return len(rows) == 4 && rows[3].State == "alive" && rows[0].State == "alive"
			})
		}
		users := b.users(20)
		began := time.Now()
		for _, u := range users {
			u.want(east[0].node, "/test/inc", "1")
		}
		b.apart(east[0], west...) // a cut to another domain delays nobody
		b.apart(east[1], west...)
		for _, u := range users {
			u.want(east[1].node, "/test/inc", "2")
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("writes with acks = all took %v", took)
		}
		pass(30 * time.Second) // repairs come and go
		for i, n := range append(east, west...) {
			want := 20
			if i > 1 {
				want = 0
			}
			if got := n.sessions(); got != want || !n.server.ready.Load() {
				t.Errorf("%s has %d sessions, want %d; ready %v", n.host, got, want, n.server.ready.Load())
			}
		}
		if rows := memberRows(t, east[0].server); rows[2].Domain != "west" || !rows[2].InSync || rows[2].Queue != 0 {
			t.Errorf("a member of another domain: %+v", rows[2])
		}
		users[0].want(west[0].node, "/test/get", "none")
	})
}
