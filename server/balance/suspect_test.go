package balance_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/balance"
)

// poisonous makes backends that end when a request for /app/poison reaches them,
// as a process does whose goroutine panics: listener and connections are closed, and
// nothing is answered.
func poisonous(t *testing.T, names ...string) (list []*backend) {
	t.Helper()
	for _, name := range names {
		b := newBackend(t, name)
		answer := b.handler
		b.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/app/poison" {
				b.kill()
				panic(http.ErrAbortHandler)
			}
			answer.ServeHTTP(w, r)
		})
		list = append(list, b)
	}
	return list
}

func get(t *testing.T, url string) int {
	t.Helper()
	r, _ := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// One request ends two nodes at most, and a second one for its path ends no more
// by being repeated.
func TestOneRequestEndsNotAllNodes(t *testing.T) {
	for _, warm := range []bool{false, true} { // on a connection that was used before, Transport tries again by itself
		t.Run(fmt.Sprintf("connections used before: %t", warm), func(t *testing.T) {
			nodes := poisonous(t, "a", "b", "c", "d", "e")
			list := fixed(nodes...)
			for i := range list {
				list[i].Apps = []balance.App{{Name: "app", Path: "/app/"}, {Name: "counter", Path: "/counter/"}}
			}
			d := open(t, list)
			until(t, "nodes are known", func() bool { return d.log.count("node added") == len(nodes) })
			for _, n := range nodes {
				if status, got := d.ask(t, "GET", "", "x."+n.name); warm && (status != 200 || got != n.name+" ") {
					t.Fatalf("%d %q", status, got)
				}
			}
			reached := func() (sum int64) {
				for _, n := range nodes {
					sum += n.hits.Load()
				}
				return sum
			}
			before := reached()
			if status := get(t, d.url+"/app/poison?id=secret"); status != 502 || reached()-before != 2 {
				t.Fatalf("status %d after %d nodes, want 502 after 2", status, reached()-before)
			}
			if status := get(t, d.url+"/app/poison"); status != 502 || reached()-before != 3 {
				t.Errorf("status %d after %d nodes, want 502 after 3", status, reached()-before)
			}
			if status := get(t, d.url+"/app/other"); status != 200 {
				t.Errorf("another path: status %d", status)
			}
			s := d.Stats()
			if s.Retries[balance.RetryBroken] != 1 || s.Withheld[balance.WithheldRepeated] != 1 || s.Withheld[balance.WithheldPath] != 1 {
				t.Errorf("counted: retries %v, not repeated %v", s.Retries, s.Withheld)
			}
			if d.log.count("a request broke two nodes") != 1 || d.log.count("app=app") != 1 || d.log.count("path=/app/poison") != 1 ||
				d.log.count("secret") != 0 {
				t.Error("the log has not one line with app and path, or has the query")
			}
		})
	}
}

// A crash is no reason to lose what the node was asked at that moment, however
// many requests for one path that are.
func TestRequestsInFlightAtACrashAreRepeated(t *testing.T) {
	a, b := newBackend(t, "a"), newBackend(t, "b")
	arrived := make(chan struct{}, 20)
	a.handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	})
	d := open(t, fixed(a, b))
	until(t, "nodes are known", func() bool { return d.log.count("node added") == 2 })
	answers := make(chan string, cap(arrived))
	for range cap(arrived) {
		go func() {
			_, got := d.ask(t, "GET", "", "x.a")
			answers <- got
		}()
	}
	for range cap(arrived) {
		<-arrived
	}
	a.kill()
	for range cap(arrived) {
		select {
		case got := <-answers:
			if got != "b " {
				t.Errorf("answered %q, want b's", got)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("no answer")
		}
	}
	if s := d.Stats(); s.Errors != 0 || !strings.Contains(fmt.Sprint(s.Retries), "broken:20") {
		t.Errorf("%+v", s)
	}
}
