package demo

import (
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	shop "github.com/nodeserver/nodeserver/webapps/cart"
	"github.com/nodeserver/nodeserver/webapps/webappstest"
)

// What visitors expect is what the app does, whatever they do.
func TestVisitorsKnowTheShop(t *testing.T) {
	u := webappstest.New(t, shop.Webapp())
	r := rand.New(rand.NewPCG(1, 2))
	var c cart
	done := map[string]int{}
	for i := range 3000 {
		a := c.choose(7, r)
		done[a.name]++
		c = a.then(c)
		q := httptest.NewRequestWithContext(t.Context(), a.method, "/"+a.path, nil)
		q.Header.Set("Accept", "text/plain")
		if got := u.Do(q); got.Body != c.line()+" test\n" {
			t.Fatalf("%d: %s %s answers %d %q, want %q", i, a.method, a.path, got.Status, got.Body, c.line())
		}
	}
	for _, name := range []string{"look", "add", "put", "remove", "login", "logout"} {
		if done[name] < 20 {
			t.Errorf("%s: %d of 3000", name, done[name])
		}
	}
}

func TestJudge(t *testing.T) {
	full := cart{map[string]int{"tea": 2, "cup": 1}, "ann"}
	for _, tc := range []struct {
		name   string
		before cart
		do     action
		line   string
		want   finding
	}{
		{"first", cart{}, addOne("tea"), "1 6.50 -", good},
		{"next", full, addOne("tea"), "4 33.50 ann", good},
		{"looked", full, look, "3 27.00 ann", good},
		{"nothing to see", cart{}, look, "0 0.00 -", good},
		{"removed", full, removeAll("tea"), "1 14.00 ann", good},
		{"put", full, putItems("cup", 3), "5 55.00 ann", good},
		{"login", cart{full.items, ""}, login("bob"), "3 27.00 bob", good},
		{"logout", full, logout, "0 0.00 -", good},
		{"not done", full, addOne("tea"), "3 27.00 ann", lostWrite},
		{"not removed", full, removeAll("tea"), "3 27.00 ann", lostWrite},
		{"not logged in", cart{full.items, ""}, login("bob"), "3 27.00 -", lostWrite},
		{"not logged out", full, logout, "3 27.00 ann", lostWrite},
		{"an earlier one is missing", full, addOne("tea"), "2 20.50 ann", lostWrite},
		{"nobody's cart", full, look, "0 0.00 -", lostSession},
		{"nobody's cart, and one more", full, addOne("tea"), "1 6.50 -", lostSession},
		{"a login to nobody's cart", full, login("ann"), "0 0.00 ann", lostSession},
		{"one too many", full, addOne("tea"), "5 40.00 ann", wrong},
		{"another item", full, look, "3 34.50 ann", wrong},
		{"another user", full, look, "3 27.00 bob", wrong},
		{"logged in by itself", cart{full.items, ""}, look, "3 27.00 ann", wrong},
		{"nonsense", full, look, "a b c", wrong},
	} {
		t.Run(tc.name, func(t *testing.T) {
			after := tc.do.then(tc.before)
			got, now := judge(tc.before, tc.do, []cart{after}, tc.line)
			if got != tc.want || got == good && now.line() != after.line() {
				t.Errorf("got %d and %q, want %d", got, now.line(), tc.want)
			}
			if tc.before.line() != (cart{}).line() && tc.before.line() != full.line() && tc.before.user != "" {
				t.Errorf("what was before has changed: %q", tc.before.line())
			}
		})
	}
	// Cut off: done or not.
	for _, line := range []string{"3 27.00 ann", "4 33.50 ann"} {
		a := addOne("tea")
		if got, now := judge(full, a, []cart{a.then(full), full}, line); got != good || now.line() != line {
			t.Errorf("cut off, %s: %d, %s", line, got, now.line())
		}
	}
}

// Only a request that was under way when the node was killed may have been
// carried out twice.
func TestDuringKill(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(1000 + ms)) }
	for _, tc := range []struct {
		name            string
		killed          [2]time.Time
		asked, answered int
		want            bool
	}{
		{"no kill", [2]time.Time{}, 1, 2, false},
		{"answered before", [2]time.Time{at(5), at(7)}, 1, 4, false},
		{"across", [2]time.Time{at(5), at(7)}, 1, 9, true},
		{"asked of a dying node", [2]time.Time{at(5), at(7)}, 6, 9, true},
		{"asked after", [2]time.Time{at(5), at(7)}, 8, 9, false},
		{"not over yet", [2]time.Time{at(5)}, 8, 9, true},
	} {
		l := &ledger{}
		l.killing(tc.killed[0], tc.killed[1])
		if got := l.duringKill(wait{asked: at(tc.asked), answered: at(tc.answered)}); got != tc.want {
			t.Errorf("%s: %t, want %t", tc.name, got, tc.want)
		}
	}
}

func TestVerdict(t *testing.T) {
	r := Result{Pass: true, Requests: 12, Failover: 3.44}
	if got, want := r.Line(), "PASS 12 requests, 0 errors, 0 lost writes, 0 lost sessions, failover 3.4 ms"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	r = Result{Requests: 12, LostWrites: 2, Failover: 31.2, Problem: "n1 has ended\nlast lines", Logs: "/tmp/x"}
	want := "FAIL 12 requests, 0 errors, 2 lost writes, 0 lost sessions, failover 31 ms; first: n1 has ended; logs: /tmp/x"
	if got := r.Line(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestTimelineIsInOrder(t *testing.T) {
	var out strings.Builder
	l := timeline{out: &out}
	now := time.Now()
	l.inOrder(event(now.Add(2*time.Second), "n1", "second %d", 2), event(now.Add(time.Second), "members", "first"))
	lines := strings.Split(out.String(), "\n")
	if !strings.HasSuffix(lines[0], "  members     first") || !strings.HasSuffix(lines[1], "  n1          second 2") || len(l.events) != 2 {
		t.Errorf("%q", lines)
	}
}
