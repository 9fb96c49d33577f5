package demo

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/cmd/nodeserver/internal/child"
)

// shopWithFaults is the app on one node, and what goes wrong with it.
type shopWithFaults struct {
	mu     sync.Mutex
	carts  map[string]cart // by cookie
	asked  int
	looked bool // the request at hand changes nothing
	fault  func(asked int, id string, s *shopWithFaults) (answer func(http.ResponseWriter))
}

func (s *shopWithFaults) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := ""
	if k, err := r.Cookie("NSESSIONID"); err == nil {
		id, _, _ = strings.Cut(k.Value, ".")
	}
	s.asked++
	s.looked = r.Method == http.MethodGet
	before := s.carts[id]
	if s.fault != nil {
		if answer := s.fault(s.asked, id, s); answer != nil {
			answer(w)
			return
		}
	}
	c := s.carts[id]
	if before.line() == c.line() {
		c = s.do(r, c)
	}
	if _, known := s.carts[id]; !known {
		id = fmt.Sprintf("s%d", s.asked)
		http.SetCookie(w, &http.Cookie{Name: "NSESSIONID", Value: id + ".n1", Path: path})
	}
	s.carts[id] = c
	_, _ = fmt.Fprintf(w, "%s n1\n", c.line())
}

// do finds out from the request which action it is.
func (s *shopWithFaults) do(r *http.Request, c cart) cart {
	sku, user := r.FormValue("sku"), r.FormValue("user")
	switch what := strings.TrimPrefix(r.URL.Path, path); {
	case what == "add":
		return addOne(sku).then(c)
	case what == "remove":
		return removeAll(sku).then(c)
	case what == "login":
		return login(user).then(c)
	case what == "logout":
		return logout.then(c)
	case strings.HasPrefix(what, "items/"):
		n, _ := strconv.Atoi(r.FormValue("quantity"))
		return putItems(strings.TrimPrefix(what, "items/"), n).then(c)
	}
	return c
}

// Every kind of fault must be found, once, and nothing where there is none.
func TestVisitorsFindFaults(t *testing.T) {
	const at = 200 // from this request on a fault strikes as soon as it can
	struck := false
	once := func(asked int, ok bool) bool {
		if asked < at || struck || !ok {
			return false
		}
		struck = true
		return true
	}
	for _, tc := range []struct {
		name  string
		fault func(asked int, id string, s *shopWithFaults) func(http.ResponseWriter)
		want  Result // without the number of requests
		first string // part of the problem
	}{
		{name: "none"},
		{
			"lost write",
			func(asked int, id string, s *shopWithFaults) func(http.ResponseWriter) {
				if c := s.carts[id]; once(asked, c.count() > 3 && s.looked) {
					for sku, n := range c.items {
						s.carts[id] = c.with(sku, n-1)
						break
					}
				}
				return nil
			},
			Result{LostWrites: 1},
			", from n1",
		},
		{
			"lost session",
			func(asked int, id string, s *shopWithFaults) func(http.ResponseWriter) {
				if once(asked, s.carts[id].count() > 0 && s.looked) {
					s.carts[id] = cart{}
					return func(w http.ResponseWriter) { _, _ = fmt.Fprintln(w, "0 0.00 - n1") }
				}
				return nil
			},
			Result{LostSessions: 1},
			`"0 0.00 -" after`,
		},
		{
			"another's cart",
			func(asked int, id string, _ *shopWithFaults) func(http.ResponseWriter) {
				if once(asked, id != "") {
					return func(w http.ResponseWriter) { _, _ = fmt.Fprintln(w, "99 1.00 eve n1") }
				}
				return nil
			},
			Result{Errors: 1},
			`"99 1.00 eve" after`,
		},
		{
			"error",
			func(asked int, _ string, _ *shopWithFaults) func(http.ResponseWriter) {
				if !once(asked, true) {
					return nil
				}
				return func(w http.ResponseWriter) { http.Error(w, "no node", http.StatusBadGateway) }
			},
			Result{Errors: 1},
			"status 502: no node",
		},
		{
			"not an answer",
			func(asked int, _ string, _ *shopWithFaults) func(http.ResponseWriter) {
				if !once(asked, true) {
					return nil
				}
				return func(w http.ResponseWriter) { _, _ = fmt.Fprint(w, "<html>") }
			},
			Result{Errors: 1},
			`"<html>" is not ITEMS TOTAL USER NODE`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			struck = false
			shop := &shopWithFaults{carts: map[string]cart{}, fault: tc.fault}
			s := httptest.NewServer(shop)
			defer s.Close()
			l := &ledger{}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			done := make(chan struct{})
			go func() {
				defer close(done)
				drive(ctx, newVisitors(5, time.Millisecond, l), s.Listener.Addr().String())
			}()
			err := child.WaitFor(t.Context(), 10*time.Second, func() bool { r, _ := l.snapshot(); return r.Requests > 2*at })
			stop()
			<-done
			got, _ := l.snapshot()
			if err != nil || got.Requests != shop.asked {
				t.Errorf("%v; %d requests entered, %d made", err, got.Requests, shop.asked)
			}
			if !strings.Contains(got.Problem, tc.first) || (got.Problem == "") != (tc.first == "") {
				t.Errorf("problem %q, want one with %q", got.Problem, tc.first)
			}
			if got.Errors != tc.want.Errors || got.LostWrites != tc.want.LostWrites || got.LostSessions != tc.want.LostSessions {
				t.Errorf("found %+v\nwant  %+v", got, tc.want)
			}
		})
	}
}

// A POST that is broken off is an error; at the kill the visitor looks instead,
// and takes it as it is, unless something else is missing.
func TestCutOff(t *testing.T) {
	for _, tc := range []struct {
		name         string
		kill         bool
		do           action
		becomes      cart
		cutOff, lost int
	}{
		{"without a kill", false, addOne("tea"), cart{}.with("tea", 3), 0, 0},
		{"done", true, addOne("tea"), cart{}.with("tea", 3), 1, 0},
		{"not done", true, addOne("tea"), cart{}.with("tea", 2), 1, 0},
		{"less than before", true, addOne("tea"), cart{}.with("tea", 1), 1, 1},
		{"login, new cookie not told", true, login("ann"), cart{}, 1, 0},
		{"not a login", true, removeAll("cup"), cart{}, 1, 1},
	} {
		shop := &shopWithFaults{carts: map[string]cart{}}
		s := httptest.NewServer(shop)
		l := &ledger{}
		if tc.kill {
			l.killing(time.Now(), time.Time{})
		}
		v := newVisitors(1, 0, l)[0]
		v.visit(s.Listener.Addr().String(), putItems("tea", 2))
		shop.fault = func(asked int, id string, s *shopWithFaults) func(http.ResponseWriter) {
			if asked != 2 {
				return nil
			}
			s.carts[id] = tc.becomes
			return func(w http.ResponseWriter) { http.Error(w, "broken off", http.StatusBadGateway) }
		}
		v.visit(s.Listener.Addr().String(), tc.do)
		got, _ := l.snapshot()
		if got.CutOff != tc.cutOff || got.LostWrites+got.LostSessions != tc.lost || (got.Errors > 0) == tc.kill {
			t.Errorf("%s: %+v", tc.name, got)
		}
		if tc.kill && tc.lost == 0 && v.cart.line() != tc.becomes.line() {
			t.Errorf("%s: the visitor expects %s", tc.name, v.cart.line())
		}
		s.Close()
	}
}

// The first answer from elsewhere counts, and no other.
func TestMoves(t *testing.T) {
	s := httptest.NewServer(&shopWithFaults{carts: map[string]cart{}})
	defer s.Close()
	l := &ledger{}
	visitors := newVisitors(2, time.Millisecond, l)
	visit := func() {
		for _, v := range visitors {
			v.visit(s.Listener.Addr().String(), addOne("tea"))
		}
	}
	visit()
	if h := homes(visitors); h["n1"] != 2 {
		t.Fatalf("homes %v", h)
	}
	visitors[0].home = "n2"
	mustMove(visitors, "n2")
	visit()
	visit()
	if _, moves := l.snapshot(); len(moves) != 1 || moves[0].node != "n1" {
		t.Errorf("moves %+v, want one to n1", moves)
	}
}

func TestConfirmed(t *testing.T) {
	for replicated, want := range map[string]bool{"": true, "1/1": true, "2/1": true, "0/1": false, "0/0": false, "x": false} {
		if got := confirmed(replicated); got != want {
			t.Errorf("%q: %v", replicated, got)
		}
	}
}
