package server

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/internal/headers"
	"github.com/nodeserver/nodeserver/webapps"
)

// asked is what the node answers an operator who may do all.
func asked(t *testing.T, s *Server, method, path string, into any) int {
	t.Helper()
	guard, _, err := s.operators()
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range guard.Routes() {
		if only, _, _ := strings.Cut(path, "?"); route.Method == method && route.Path == only {
			w := httptest.NewRecorder()
			route.Handler(w, httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody))
			if err := json.Unmarshal(w.Body.Bytes(), into); w.Code == http.StatusOK && err != nil {
				t.Fatalf("%s %s: %v in %s", method, path, err, w.Body)
			}
			return w.Code
		}
	}
	t.Fatalf("no route %s %s", method, path)
	return 0
}

// A node that an operator drains says so to all who ask, gives its users to the next node with
// their next request, and goes on answering what reaches it, as a member like before. Taken
// back, it has users again.
func TestDrainAndBack(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		nodes := b.cluster(3, testApp(), nil)
		drained, other := nodes[0], nodes[1]
		users := b.users(20)
		for _, u := range users {
			u.want(drained.node, "/test/inc", "1")
		}
		var reply admin.DrainReply
		if status := asked(
			t, drained.server, http.MethodPost, "/api/v1/drain", &reply,
		); status != http.StatusOK || !reply.Draining ||
			reply.Since == nil {
			t.Fatalf("%d %+v", status, reply)
		}
		var ready admin.MembersReply
		if status := asked(t, drained.server, http.MethodGet, "/readyz", &ready); status != http.StatusServiceUnavailable {
			t.Errorf("/readyz: %d", status)
		}
		if status, _, _ := users[0].get(drained.node, headers.ReadyPath); status != http.StatusServiceUnavailable {
			t.Errorf("%s: %d", headers.ReadyPath, status)
		}
		b.within(5*time.Second, "the others know, and have all", func() bool {
			asked(t, drained.server, http.MethodGet, "/api/v1/drain", &reply)
			return !other.server.serves("test", "n1") && reply.HandedOver && reply.Changes == 0
		})
		if reply.InFlight != 0 || reply.Unshared != 0 {
			t.Errorf("%+v", reply)
		}
		for i, u := range users { // some still come to it, the others' balancer knows better
			if i%2 == 0 {
				if h := u.want(drained.node, "/test/inc", "2"); h.Get("Connection") != "close" {
					t.Errorf("an answer of HTTP/1 does not end its connection: %v", h)
				}
			}
		}
		b.whole(5*time.Second, nodes...)
		for i, u := range users {
			h := u.want(other.node, "/test/inc", []string{"3", "2"}[i%2])
			if got := h["Set-Cookie"]; len(got) == 0 || !strings.Contains(got[0], ".n2;") {
				t.Errorf("the cookie stays at the node that drains: %q", got)
			}
		}
		for _, row := range memberRows(t, other.server) {
			if row.Draining != (row.Name == "n1") || !row.Ready {
				t.Errorf("members: %+v", row)
			}
		}
		reply = admin.DrainReply{}
		if status := asked(
			t, drained.server, http.MethodDelete, "/api/v1/drain", &reply,
		); status != http.StatusOK || reply.Draining ||
			reply.Since != nil {
			t.Errorf("%d %+v", status, reply)
		}
		b.within(5*time.Second, "users may come back", func() bool { return other.server.serves("test", "n1") && drained.server.probed() })
		u := b.user()
		if h := u.want(drained.node, "/test/inc", "1"); h.Get("Connection") == "close" {
			t.Error("answers still end their connections")
		}
		b.whole(5*time.Second, nodes...)
		if h := u.want(other.node, "/test/inc", "2"); h["Set-Cookie"] != nil {
			t.Errorf("the user is moved: %q", h["Set-Cookie"])
		}
	})
}

// What is not done yet is counted: requests that run, changes that a member lacks, sessions
// that nobody else has. What a node that stops is asked for comes too late.
func TestDrainTellsWhatIsLeft(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		hold := make(chan struct{})
		app := testApp()
		inner := app.New
		app.New = func(c webapps.Context) (http.Handler, error) {
			h, err := inner(c)
			mux := http.NewServeMux()
			mux.Handle("/", h)
			mux.HandleFunc("/hold", func(http.ResponseWriter, *http.Request) { <-hold })
			return mux, err
		}
		nodes := b.cluster(2, app, nil)
		n := nodes[0]
		u := b.user()
		held := make(chan bool)
		go func() {
			defer close(held)
			b.user().get(n.node, "/test/hold")
		}()
		pass(time.Millisecond)
		b.net.Delay("n1", "n2", 300*time.Millisecond) // less than makes a member suspect
		u.want(n.node, "/test/inc", "1")
		var reply admin.DrainReply
		asked(t, n.server, http.MethodPost, "/api/v1/drain", &reply)
		if reply.InFlight != 1 || reply.Changes == 0 || reply.HandedOver {
			t.Errorf("a request runs, and changes are on their way: %+v", reply)
		}
		close(hold)
		<-held
		b.within(30*time.Second, "handed over", func() bool {
			asked(t, n.server, http.MethodGet, "/api/v1/drain", &reply)
			return reply.HandedOver && reply.Changes == 0 && reply.InFlight == 0
		})
		b.crash(nodes[1])
		b.within(10*time.Second, "nobody else is there", func() bool {
			asked(t, n.server, http.MethodGet, "/api/v1/drain", &reply)
			return reply.Unshared == 1
		})
		n.server.beginToStop()
		if status := asked(t, n.server, http.MethodDelete, "/api/v1/drain", &reply); status != http.StatusConflict {
			t.Errorf("a node that stops is taken back: %d", status)
		}
	})
}

// An operator has a member drained through another one, which passes on what it says.
func TestDrainOfAnotherMember(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		nodes := b.cluster(3, testApp(), nil)
		asks := nodes[0].server
		var reply admin.DrainReply
		status := asked(t, asks, http.MethodPost, "/api/v1/drain?node=n2", &reply)
		if status != http.StatusOK || reply.Node != "n2" || !reply.Draining || !nodes[1].server.drain.Begun() {
			t.Fatalf("%d %+v", status, reply)
		}
		if asks.drain.Begun() || nodes[2].server.drain.Begun() {
			t.Error("others drain, too")
		}
		b.within(5*time.Second, "n2 has handed over", func() bool {
			asked(t, asks, http.MethodGet, "/api/v1/drain?node=n2", &reply)
			return reply.Draining && reply.HandedOver
		})
		status = asked(t, asks, http.MethodDelete, "/api/v1/drain?node=n2", &reply)
		if status != http.StatusOK || nodes[1].server.drain.Begun() {
			t.Errorf("%d %+v", status, reply)
		}
		if status = asked(t, asks, http.MethodPost, "/api/v1/drain?node=n9", &reply); status != http.StatusNotFound {
			t.Errorf("n9: %d", status)
		}
		nodes[1].server.beginToStop()
		if status = asked(t, asks, http.MethodDelete, "/api/v1/drain?node=n2", &reply); status != http.StatusBadGateway {
			t.Errorf("a node that stops: %d", status)
		}
	})
}
