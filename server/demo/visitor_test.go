package demo

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// counter is the app on one node, with faults to be found.
type counter struct {
	mu     sync.Mutex
	counts map[string]int
	asked  int
	fault  func(asked int, id string, c *counter) (answer func(http.ResponseWriter))
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := ""
	if k, err := r.Cookie(cookieName); err == nil {
		id, _, _ = strings.Cut(k.Value, ".")
	}
	c.asked++
	if c.fault != nil {
		if answer := c.fault(c.asked, id, c); answer != nil {
			answer(w)
			return
		}
	}
	if c.counts[id] == 0 {
		id = fmt.Sprintf("s%d", len(c.counts))
		http.SetCookie(w, &http.Cookie{Name: cookieName, Value: id + ".n1", Path: path})
	}
	c.counts[id]++
	_, _ = fmt.Fprintf(w, "%d n1\n", c.counts[id])
}

// Every kind of fault must be found, once, and nothing where there is none.
func TestVisitorsFindFaults(t *testing.T) {
	const at = 40 // request at which the fault strikes
	for _, tc := range []struct {
		name  string
		fault func(asked int, id string, c *counter) func(http.ResponseWriter)
		want  Result // without the number of requests
		first string // part of the problem
	}{
		{name: "none"},
		{
			"lost write",
			func(asked int, id string, c *counter) func(http.ResponseWriter) {
				if asked == at {
					c.counts[id] -= 2
				}
				return nil
			},
			Result{LostWrites: 2},
			"from n1",
		},
		{
			"lost session",
			func(asked int, id string, c *counter) func(http.ResponseWriter) {
				if asked == at {
					c.counts[id] = 0
				}
				return nil
			},
			Result{LostSessions: 1},
			"got a new session after count",
		},
		{
			"counted twice without a kill",
			func(asked int, id string, c *counter) func(http.ResponseWriter) {
				if asked == at {
					c.counts[id]++
				}
				return nil
			},
			Result{Errors: 1},
			"without a failover",
		},
		{
			"error",
			func(asked int, _ string, _ *counter) func(http.ResponseWriter) {
				if asked != at {
					return nil
				}
				return func(w http.ResponseWriter) { http.Error(w, "no node", http.StatusServiceUnavailable) }
			},
			Result{Errors: 1},
			"status 503: no node",
		},
		{
			"not an answer",
			func(asked int, _ string, _ *counter) func(http.ResponseWriter) {
				if asked != at {
					return nil
				}
				return func(w http.ResponseWriter) { _, _ = fmt.Fprint(w, "<html>") }
			},
			Result{Errors: 1},
			`"<html>" is not COUNT NODE`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &counter{counts: map[string]int{"": 0}, fault: tc.fault}
			s := httptest.NewServer(c)
			defer s.Close()
			l := &ledger{}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			done := make(chan struct{})
			go func() {
				defer close(done)
				drive(ctx, newVisitors(5, time.Millisecond, l), s.Listener.Addr().String())
			}()
			err := waitFor(t.Context(), 10*time.Second, func() bool { r, _ := l.snapshot(); return r.Requests > 2*at })
			stop()
			<-done
			got, _ := l.snapshot()
			if err != nil || got.Requests != c.asked {
				t.Errorf("%v; %d requests entered, %d made", err, got.Requests, c.asked)
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

// The first answer from elsewhere counts, and no other.
func TestMoves(t *testing.T) {
	c := &counter{counts: map[string]int{"": 0}}
	s := httptest.NewServer(c)
	defer s.Close()
	l := &ledger{}
	visitors := newVisitors(2, time.Millisecond, l)
	visit := func() {
		for _, v := range visitors {
			v.visit(s.Listener.Addr().String())
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
