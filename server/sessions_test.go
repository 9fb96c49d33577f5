package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/operators"
	"github.com/nodeserver/nodeserver/webapps"
)

// accounts is an app whose users log in, and keep things.
func accounts() webapps.App {
	return steps{
		"login": func(w http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			if err := s.SetPrincipal(r.FormValue("as")); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		},
		"put": func(w http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			if err := s.Set("card", "4111-1111"); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		},
		"who": func(w http.ResponseWriter, r *http.Request) {
			if s, ok := webapps.ExistingSession(r); ok {
				fmt.Fprintf(w, "%s %s", s.Principal(), strings.Join(s.Names(), ","))
			} else {
				fmt.Fprint(w, "nobody")
			}
		},
	}.app()
}

// does has an operator change something.
func does(t *testing.T, guard http.Handler, path, token, body string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	guard.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// tokenOf has the guard make an operator's token.
func tokenOf(t *testing.T, guard *operators.Guard, address string) string {
	t.Helper()
	end, err := guard.Start(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	token, ok := operators.Find(address)
	if !ok {
		t.Fatal("no token")
	}
	return token.Text()
}

// Sessions are listed newest first, in pages without a gap or a repetition, and by user, age and id.
func TestSessionsAreListed(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		nodes := b.cluster(2, accounts(), nil)
		for i := range 25 {
			u := b.user()
			u.want(nodes[i%2].node, "/test/put", "")
			if i%5 == 0 {
				u.want(nodes[i%2].node, "/test/login?as=alice", "")
			}
			pass(time.Minute / 2)
		}
		b.whole(time.Second, nodes...)
		guard := guarded(t, nodes[0])
		list := func(query string) (r admin.SessionsReply) {
			t.Helper()
			looks(t, guard, "/api/v1/sessions?"+query, &r)
			return r
		}
		all := list("limit=1000")
		if all.Total != 25 || len(all.Sessions) != 25 || all.Cursor != "" {
			t.Fatalf("%d of %d, cursor %q", len(all.Sessions), all.Total, all.Cursor)
		}
		if !slices.IsSortedFunc(all.Sessions, func(x, y admin.SessionRow) int { return y.Created.Compare(x.Created) }) {
			t.Error("not newest first")
		}
		var paged []admin.SessionRow
		for query, cursor := "limit=4&app=test", "x"; cursor != ""; {
			page := list(query)
			paged, cursor = append(paged, page.Sessions...), page.Cursor
			query = "limit=4&app=test&after=" + cursor
		}
		if !slices.Equal(paged, all.Sessions) {
			t.Errorf("pages have %d sessions, or others", len(paged))
		}
		if alice := list("principal=alice"); alice.Total != 5 || alice.Sessions[0].Principal != "alice" {
			t.Errorf("alice: %+v", alice)
		}
		if list("principal=ali").Total != 0 || list("principal=bob").Total != 0 {
			t.Error("a part of a name is found")
		}
		first := all.Sessions[24]
		if one := list("id=" + first.ID[:20]); one.Total != 1 || one.Sessions[0] != first {
			t.Errorf("%+v, want %+v", one, first)
		}
		if old := list("idle=10m&order=used"); old.Total == 0 || old.Total >= 25 ||
			time.Since(old.Sessions[0].LastAccess) < 10*time.Minute {
			t.Errorf("%d are idle for 10 min", old.Total)
		}
		for _, wrong := range []string{"limit=0", "limit=1001", "idle=x", "order=x", "after=x", "after=1.2", "app=none"} {
			w := httptest.NewRecorder()
			guard.ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1/api/v1/sessions?"+wrong, http.NoBody))
			if w.Code != http.StatusBadRequest {
				t.Errorf("%s: %d %s", wrong, w.Code, w.Body)
			}
		}
	})
}

// One session, what each node has of it, and its values for operators only.
func TestOneSessionIsShown(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		nodes := b.cluster(3, accounts(), nil)
		u := b.user()
		u.want(nodes[0].node, "/test/login?as=alice", "")
		u.want(nodes[0].node, "/test/put", "")
		b.whole(time.Second, nodes...)
		guard := guarded(t, nodes[0])
		token := tokenOf(t, guard, "127.0.0.1:7001")
		var list admin.SessionsReply
		looks(t, guard, "/api/v1/sessions", &list)
		at := "/api/v1/sessions/" + list.Sessions[0].ID
		var one admin.SessionReply
		looks(t, guard, at, &one)
		if len(one.Names) != 1 || one.Names[0] != (admin.AttributeRow{Name: "card", Type: "string", Bytes: 10}) ||
			one.Session != list.Sessions[0] {
			t.Errorf("%+v", one)
		}
		if code, body := does(t, guard, at+"/values", token, ""); code != http.StatusOK || !strings.Contains(body, `\"4111-1111\"`) {
			t.Errorf("values: %d %s", code, body)
		}
		if code, _ := does(t, guard, at+"/values", "", ""); code != http.StatusUnauthorized {
			t.Errorf("values for anybody: %d", code)
		}
		where := func() (r admin.WhereReply) {
			t.Helper()
			looks(t, guard, at+"/where", &r)
			return r
		}
		if r := where(); !r.Same || len(r.Copies) != 3 || !r.Copies[2].Here ||
			r.Copies[2].Sum != r.Copies[0].Sum || r.Copies[0].Stamp == "" {
			t.Errorf("%+v", r)
		}
		b.apart(nodes[2], nodes[:2]...)
		u.want(nodes[0].node, "/test/put", "")
		pass(100 * time.Millisecond)
		begin := time.Now()
		if r := where(); time.Since(begin) > time.Second || !r.Same || r.Copies[2].Problem != "no answer within 1s" ||
			r.Copies[2].Node != "n3" {
			t.Errorf("after %v: %+v", time.Since(begin), r)
		}
		guard3 := guarded(t, nodes[2])
		var other admin.WhereReply
		looks(t, guard3, at+"/where", &other)
		if other.Copies[2].Sum == where().Copies[0].Sum {
			t.Error("copies that differ have equal sums")
		}
	})
}

// A user is logged out everywhere, one session ends, and those that nobody has used.
func TestSessionsAreExpired(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		nodes := b.cluster(3, accounts(), nil)
		var alices []*user
		for i := range 3 {
			u := b.user()
			u.want(nodes[i].node, "/test/login?as=alice", "")
			alices = append(alices, u)
		}
		bob, idle := b.user(), b.user()
		bob.want(nodes[0].node, "/test/login?as=bob", "")
		idle.want(nodes[0].node, "/test/put", "")
		b.whole(time.Second, nodes...)
		guard := guarded(t, nodes[0])
		token := tokenOf(t, guard, "127.0.0.1:7002")
		expire := func(body string, n int) {
			t.Helper()
			want := fmt.Sprintf(`"expired":%d}`, n)
			if code, answer := does(t, guard, "/api/v1/expire", token, body); code != 200 || !strings.Contains(answer, want) {
				t.Errorf("%s: %d %s", body, code, answer)
			}
		}
		expire(`{"principal":"alice"}`, 3)
		for i, u := range alices { // at once, on each node
			u.want(nodes[(i+1)%3].node, "/test/who", "nobody")
		}
		bob.want(nodes[2].node, "/test/who", "bob ")
		page, _ := nodes[1].server.manager().Newest(deltamanager.Query{Limit: 9, Wanted: deltamanager.Wanted{Principal: "bob"}})
		expire(`{"id":"`+page[0].Key.String()+`"}`, 1)
		bob.want(nodes[1].node, "/test/who", "nobody")
		expire(`{"app":"test","idle_seconds":600}`, 0)
		pass(11 * time.Minute)
		expire(`{"app":"test","idle_seconds":600}`, 1)
		idle.want(nodes[1].node, "/test/who", "nobody")
		for _, wrong := range []string{
			"", "{}", `{"app":"test"}`, `{"idle_seconds":5}`, `{"app":"test","idle_seconds":-1}`, `{"id":"x"}`,
			`{"id":"","principal":"a","idle_seconds":1}`, `{"principal":"a","app":"none"}`, `{"prinzipal":"a"}`,
		} {
			if code, answer := does(t, guard, "/api/v1/expire", token, wrong); code != http.StatusBadRequest {
				t.Errorf("%s: %d %s", wrong, code, answer)
			}
		}
	})
}
