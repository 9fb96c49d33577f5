package balance_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/balance"
	"github.com/nodeserver/nodeserver/server/internal/headers"
)

// dying is a node like the kernel leaves it for some milliseconds when it kills
// the process: connections are broken off, new ones still succeed, nobody answers.
type dying struct {
	addr  string
	conns sync.Map
	dead  atomic.Bool
}

func newDying(t *testing.T) *dying {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	d := &dying{addr: ln.Addr().String()}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			d.conns.Store(c, nil)
			go d.serve(c)
		}
	}()
	return d
}

func (d *dying) serve(c net.Conn) {
	in := bufio.NewReader(c)
	for {
		if _, err := http.ReadRequest(in); err != nil || d.dead.Load() {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na ")
	}
}

func (d *dying) die() {
	d.dead.Store(true)
	d.conns.Range(func(c, _ any) bool { _ = c.(net.Conn).Close(); return true })
}

// While a process is being killed, requests must not go to what is left of it.
func TestANodeThatIsBeingKilled(t *testing.T) {
	a, b := newDying(t), newBackend(t, "b")
	d := open(t, balance.Fixed{{Name: "a", Address: a.addr}, {Name: "b", Address: b.addr}})
	until(t, "an answer of a", func() bool { _, got := d.ask(t, "GET", "", "x.a"); return got == "a " })
	a.die()
	for range 20 {
		began := time.Now()
		if _, got := d.ask(t, "GET", "", "x.a"); got != "b " {
			t.Fatalf("answered by %q, want b", got)
		}
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("a request waited %v for a node that is gone", took)
		}
	}
}

// What merely ends a connection takes the node away from its users for a moment.
func TestALiveNodeIsTrustedAgain(t *testing.T) {
	a, b := newBackend(t, "a"), newBackend(t, "b")
	answer := a.handler
	a.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			panic(http.ErrAbortHandler)
		}
		answer.ServeHTTP(w, r)
	})
	d := open(t, fixed(a, b))
	for range 5 {
		until(t, "an answer of a", func() bool { _, got := d.ask(t, "GET", "", "x.a"); return got == "a " })
		if status, got := d.ask(t, "POST", "", "x.a"); status != 502 && got != "b " {
			t.Errorf("%d %q", status, got)
		}
	}
	if d.log.count("node down") != 0 {
		t.Error("a live node was marked down")
	}
}

// The only node there is must not be refused for being in doubt.
func TestTheOnlyNodeInDoubt(t *testing.T) {
	a := newBackend(t, "a")
	d := open(t, fixed(a))
	until(t, "a first answer", func() bool { s, _ := d.ask(t, "GET", ""); return s == 200 })
	a.handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			panic(http.ErrAbortHandler)
		}
	})
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for range 50 {
				d.ask(t, "POST", "")
				if status, got := d.ask(t, "GET", ""); status != 200 {
					t.Errorf("%d %q", status, got)
				}
			}
		})
	}
	users.Wait()
}

func TestANodeThatIsNotReady(t *testing.T) {
	notReady := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(headers.Retry, "next")
		http.Error(w, "not ready", http.StatusServiceUnavailable)
	})
	a, b := newBackend(t, "a"), newBackend(t, "b")
	a.handler = notReady
	d := open(t, fixed(a, b))
	until(t, "nodes are known", func() bool { _, got := d.ask(t, "GET", "", "x.b"); return got == "b " })
	long := strings.Repeat("0123456789abcdef", 8<<10)
	for _, tc := range []struct {
		method, body, want string
	}{
		{"GET", "", "b "},
		{"POST", "", "b "},
		{"POST", "body", "b body"},
		{"DELETE", "body", "b body"},
		{"POST", long, "not ready\n"}, // on its way when the answer came
	} {
		if _, got := d.ask(t, tc.method, tc.body, "x.a"); got != tc.want {
			t.Errorf("%s with %d bytes: %.40q, want %q", tc.method, len(tc.body), got, tc.want)
		}
	}
	if n := d.Stats().Retries[balance.RetryNext]; n != 4 {
		t.Errorf("%d retries counted, want 4", n)
	}
	b.handler = notReady
	if status, got := d.ask(t, "POST", "", "x.a"); status != 503 || !strings.HasPrefix(got, "503: no node of the cluster is ready") {
		t.Errorf("%d %q", status, got)
	}
	if d.log.count("node down") != 0 {
		t.Error("a node that answers was marked down")
	}
}

// The header is between node and door, and means something with a 503 only.
func TestHeaderRetryIsNotPassedOn(t *testing.T) {
	a, b := newBackend(t, "a"), newBackend(t, "b")
	a.handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(headers.Retry, "next")
		_, _ = io.WriteString(w, "a")
	})
	d := open(t, fixed(a, b))
	until(t, "nodes are known", func() bool { return d.log.count("node added") == 2 })
	r, _ := http.NewRequestWithContext(t.Context(), "POST", d.url, strings.NewReader("x"))
	r.AddCookie(&http.Cookie{Name: "NSESSIONID", Value: "x.a"})
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if body, _ := io.ReadAll(res.Body); string(body) != "a" || res.Header.Get(headers.Retry) != "" {
		t.Errorf("%q, header %v", body, res.Header)
	}
}

func TestRouteInAPrefixedCookie(t *testing.T) {
	a, b := newBackend(t, "a"), newBackend(t, "b")
	d := open(t, fixed(a, b))
	until(t, "nodes are known", func() bool { return d.log.count("node added") == 2 })
	for _, tc := range []struct{ cookies, want string }{
		{"__Host-NSESSIONID=x.b", "b "},
		{"__Host-NSESSIONID=x.a", "a "},
		{"__Host-NSESSIONID=x.a; NSESSIONID=x.b", "b "}, // of the longer path
		{"NSESSIONID=x.gone; __Host-NSESSIONID=x.a", "a "},
	} {
		for range 3 {
			r, _ := http.NewRequestWithContext(t.Context(), "GET", d.url, nil)
			r.Header.Set("Cookie", tc.cookies)
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if string(body) != tc.want {
				t.Errorf("%s: answered by %q, want %q", tc.cookies, body, tc.want)
			}
		}
	}
}
