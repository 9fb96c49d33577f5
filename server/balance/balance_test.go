package balance_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/balance"
	"github.com/nodeserver/nodeserver/server/forward"
	"github.com/nodeserver/nodeserver/server/internal/headers"
)

// backend is a node that can be killed and revived on its port.
type backend struct {
	name, addr  string
	incarnation uint64 // its incarnation, if it tells that
	handler     http.Handler
	srv         *http.Server
	hits        atomic.Int64
	posts       atomic.Int64
}

func newBackend(t *testing.T, name string) *backend {
	t.Helper()
	b := &backend{name: name}
	b.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "%s %s", name, body)
	})
	b.start(t)
	t.Cleanup(b.kill)
	return b
}

func (b *backend) start(t *testing.T) {
	t.Helper()
	addr := b.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	b.addr = ln.Addr().String()
	b.srv = &http.Server{Handler: http.HandlerFunc(b.serve), DisableGeneralOptionsHandler: true, ReadHeaderTimeout: time.Minute}
	go func() { _ = b.srv.Serve(ln) }()
}

func (b *backend) serve(w http.ResponseWriter, r *http.Request) {
	if r.RequestURI == "*" {
		if b.incarnation != 0 {
			w.Header().Set(headers.Incarnation, headers.IncarnationToken(membership.ID{Name: b.name, Incarnation: b.incarnation}))
		}
		return
	}
	b.hits.Add(1)
	if r.Method == http.MethodPost {
		b.posts.Add(1)
	}
	b.handler.ServeHTTP(w, r)
}

// kill closes the listener and all connections, as the end of a process does.
func (b *backend) kill() { _ = b.srv.Close() }

// door is a balancer before backends.
type door struct {
	*balance.Balancer
	url   string
	admin string // of operators
	log   *lines
}

func open(t *testing.T, source balance.Source) *door {
	t.Helper()
	return openWith(t, balance.Config{}, source)
}

func openWith(t *testing.T, cfg balance.Config, source balance.Source) *door {
	t.Helper()
	return openRedirecting(t, cfg, source, nil)
}

// openRedirecting opens a door that sends users from another listener to HTTPS, unless that is nil.
func openRedirecting(t *testing.T, cfg balance.Config, source balance.Source, from net.Listener) *door {
	t.Helper()
	admin, err := balance.Listen(t.Context(), "admin.address", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := balance.Listen(t.Context(), "balance.address", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	cfg.HealthInterval = 10 * time.Millisecond
	b, err := balance.New(cfg, source, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if from != nil {
		b.Redirect(from)
	}
	ctx, stop := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, ln, admin) }()
	t.Cleanup(func() {
		stop(errors.New("signal: terminated"))
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return &door{b, "http://" + ln.Addr().String(), "http://" + admin.Addr().String(), log}
}

func fixed(backends ...*backend) (f balance.Fixed) {
	for _, b := range backends {
		f = append(f, balance.Node{Name: b.name, Address: b.addr})
	}
	return f
}

// ask sends a request with the cookies and returns status and body.
func (d *door) ask(t *testing.T, method, body string, cookies ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, d.url+"/counter/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cookies {
		r.AddCookie(&http.Cookie{Name: "NSESSIONID", Value: c})
	}
	r.Close = true // or the client repeats requests on its own
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(answer)
}

// until polls, for at most 5 s.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !is(); {
		if time.Now().After(end) {
			t.Fatalf("not within 5 s: %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// lines is a log to look into.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part)
}

func TestSticky(t *testing.T) {
	a, b, c := newBackend(t, "a"), newBackend(t, "b"), newBackend(t, "c")
	d := open(t, fixed(a, b, c))
	until(t, "a first answer", func() bool { s, _ := d.ask(t, "GET", ""); return s == 200 })
	for _, tc := range []struct {
		name    string
		cookies []string
		want    string
	}{
		{"route", []string{"x.b"}, "b "},
		{"last dot counts", []string{"c~x.a.b"}, "b "},
		{"first known route", []string{"x", "x.gone", "x.c", "x.a"}, "c "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for range 5 {
				if _, got := d.ask(t, "GET", "", tc.cookies...); got != tc.want {
					t.Errorf("answered by %q, want %q", got, tc.want)
				}
			}
		})
	}
	t.Run("no known route goes round", func(t *testing.T) {
		seen := map[string]int{}
		for range 60 {
			_, got := d.ask(t, "GET", "", "x.gone")
			seen[got]++
		}
		if min(seen["a "], seen["b "], seen["c "]) < 10 {
			t.Errorf("answers by node: %v, want some 20 of each", seen)
		}
	})
	if got := d.Stats(); got.Errors > 1 || len(got.Retries) != 0 {
		t.Errorf("stats %+v", got)
	}
}

func TestKilledNodeKeepsTheBody(t *testing.T) {
	a, b := newBackend(t, "a"), newBackend(t, "b")
	d := open(t, fixed(a, b))
	until(t, "a first answer", func() bool { _, got := d.ask(t, "GET", "", "x.b"); return got == "b " })
	body := strings.Repeat("0123456789abcdef", 8<<10) // more than any buffer on the way
	a.kill()
	for range 3 {
		if status, got := d.ask(t, "POST", body, "x.a"); status != 200 || got != "b "+body {
			t.Fatalf("status %d, %d bytes of answer, want 200 and b's", status, len(got))
		}
	}
	got := d.Stats()
	if got.Retries[balance.RetryDial] < 1 || got.Errors > 1 {
		t.Errorf("stats %+v", got)
	}
	if len(got.Rehomed) != 1 || got.Rehomed[0].From != "a" || got.Rehomed[0].To != "b" || got.Rehomed[0].Requests != 3 {
		t.Errorf("rehomed %+v, want a to b 3", got.Rehomed)
	}
	until(t, "the log line of the move", func() bool { return d.log.count("requests=3") == 1 })

	a.start(t)
	until(t, "the node is used again", func() bool { _, got := d.ask(t, "GET", "", "x.a"); return got == "a " })
	until(t, "the log line of the node's return", func() bool { return d.log.count("node up") == 1 })
	if down := d.log.count("node down"); down != 1 {
		t.Errorf("%d lines of down, want one", down)
	}
}

// A connection that breaks after the request was sent leaves open whether the
// node has carried it out.
func TestBrokenBeforeTheAnswer(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 8<<10)
	for _, tc := range []struct {
		name, method, body string
		status             int
		want               string
		retried            uint64
	}{
		{"GET is asked elsewhere", "GET", "", 200, "b ", 1},
		{"DELETE is asked elsewhere", "DELETE", "", 200, "b ", 1},
		{"POST is not", "POST", "body", 502, "502: the node broke off", 0},
		{"POST without body is not", "POST", "", 502, "502: the node broke off", 0},
		{"PUT is asked elsewhere", "PUT", "body", 200, "b body", 1},
		{"PUT with a long body is not", "PUT", long, 502, "502: the node broke off", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, b := newBackend(t, "a"), newBackend(t, "b")
			a.handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
			d := open(t, fixed(a, b))
			until(t, "nodes are known", func() bool { _, got := d.ask(t, "GET", "", "x.b"); return got == "b " })
			status, got := d.ask(t, tc.method, tc.body, "x.a")
			if status != tc.status || !strings.HasPrefix(got, tc.want) {
				t.Errorf("%d %q, want %d %q", status, got, tc.status, tc.want)
			}
			if n := a.hits.Load() + b.posts.Load(); n != 1 {
				t.Errorf("tried %d times, want once", n)
			}
			if n := d.Stats().Retries[balance.RetryBroken]; n != tc.retried {
				t.Errorf("%d retries counted, want %d", n, tc.retried)
			}
			if d.log.count("node down") != 0 {
				t.Error("the node was marked down without a dial error")
			}
		})
	}
}

func TestNothingIsRepeatedAfterAPartialAnswer(t *testing.T) {
	a, b := newBackend(t, "a"), newBackend(t, "b")
	a.handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	for _, method := range []string{"GET", "POST"} {
		d := open(t, fixed(a, b)) // one that has not come to doubt the node yet
		until(t, "nodes are known", func() bool { _, got := d.ask(t, "GET", "", "x.b"); return got == "b " })
		if status, got := d.ask(t, method, "", "x.a"); status != 0 {
			t.Errorf("%s: %d %q, want a broken connection", method, status, got)
		}
	}
	if a.hits.Load() != 2 || b.posts.Load() != 0 {
		t.Errorf("a was asked %d times, b got %d POSTs; want 2 and 0", a.hits.Load(), b.posts.Load())
	}
}

// Users must not notice that a node dies between their requests and returns.
func TestLoadWhileANodeDiesAndReturns(t *testing.T) {
	a, b, c := newBackend(t, "a"), newBackend(t, "b"), newBackend(t, "c")
	d := open(t, fixed(a, b, c))
	until(t, "a first answer", func() bool { s, _ := d.ask(t, "GET", ""); return s == 200 })
	stop := make(chan struct{})
	var users sync.WaitGroup
	var answers atomic.Int64
	for i := range 12 {
		users.Go(func() {
			cookie := "x." + string("abc"[i%3])
			for {
				select {
				case <-stop:
					return
				default:
				}
				// Not POST: one under way when its node dies may be answered 502.
				status, got := d.ask(t, "GET", "", cookie)
				if status != 200 {
					t.Errorf("%d %q", status, got)
					return
				}
				answers.Add(1)
			}
		})
	}
	more := func(n int64) {
		t.Helper()
		was := answers.Load()
		until(t, "more answers", func() bool { return answers.Load() >= was+n })
	}
	more(200)
	a.kill()
	more(400)
	hits := a.hits.Load()
	a.start(t)
	until(t, "the node serves its users again", func() bool { return a.hits.Load() > hits+20 })
	close(stop)
	users.Wait()
	if n := d.log.count("requests moved"); n > 4 {
		t.Errorf("%d lines about moved requests", n)
	}
}

func TestUpgradePassesThrough(t *testing.T) {
	a := newBackend(t, "a")
	a.handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Upgrade", "echo")
		w.Header().Set("Connection", "Upgrade")
		w.WriteHeader(http.StatusSwitchingProtocols)
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		line, _ := rw.ReadString('\n')
		_, _ = io.WriteString(c, "echo "+line)
	})
	d := open(t, fixed(a))
	until(t, "nodes are known", func() bool { return d.log.count("node added") == 1 })
	c, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	in := bufio.NewReader(c)
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%+v %v", res, err)
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.WriteString(c, "hello\n")
	if got, err := in.ReadString('\n'); got != "echo hello\n" {
		t.Errorf("%q %v", got, err)
	}
}

// Events must reach the user when they happen, not when the response ends.
func TestEventsPassAtOnce(t *testing.T) {
	a, goOn := newBackend(t, "a"), make(chan struct{})
	a.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintf(w, "data: %s %s\n", r.Host, r.Header.Get("X-Forwarded-For"))
		_ = http.NewResponseController(w).Flush()
		<-goOn
	})
	defer close(goOn)
	d := open(t, fixed(a))
	until(t, "nodes are known", func() bool { return d.log.count("node added") == 1 })
	r, _ := http.NewRequestWithContext(t.Context(), "GET", d.url, nil)
	r.Host = "shop.example"
	r.Header.Set("X-Forwarded-For", "192.0.2.1") // a stranger's word
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if got, err := bufio.NewReader(res.Body).ReadString('\n'); got != "data: shop.example 127.0.0.1\n" {
		t.Errorf("%q %v", got, err)
	}
}

func TestNobodyLeft(t *testing.T) {
	a, b := newBackend(t, "a"), newBackend(t, "b")
	d := open(t, fixed(a, b))
	a.kill()
	b.kill()
	until(t, "nodes are known", func() bool { return d.log.count("node added") == 2 })
	for range 3 { // also once they are marked down
		status, got := d.ask(t, "POST", "body", "x.a")
		if status != 503 || !strings.HasPrefix(got, "503: no node of the cluster is ready") {
			t.Errorf("%d %q", status, got)
		}
	}
	if got := d.Stats(); got.Errors != 3 || got.Requests != 3 || got.Retries[balance.RetryDial] != 6 {
		t.Errorf("stats %+v", got)
	}
}

func TestListenOnATakenPort(t *testing.T) {
	a := newBackend(t, "a")
	_, err := balance.Listen(t.Context(), "balance.address", a.addr)
	if err == nil || !strings.HasPrefix(err.Error(), "balance.address: listen on "+a.addr+": the port is taken") {
		t.Errorf("%v", err)
	}
}

// told is a Source driven by a test.
type told chan []balance.Node

func (s told) Run(ctx context.Context, update func([]balance.Node)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case list, ok := <-s:
			if !ok {
				return errors.New("no providers left")
			}
			update(list)
		}
	}
}

func TestUses(t *testing.T) {
	a, b := newBackend(t, "a"), newBackend(t, "b")
	a.incarnation, b.incarnation = 1, 2
	list := func(ua, ub balance.Use) (l []balance.Node) {
		if ua != 0 {
			l = append(l, balance.Node{Name: "a", Incarnation: 1, Address: a.addr, Use: ua})
		}
		return append(l, balance.Node{Name: "b", Incarnation: 2, Address: b.addr, Use: ub})
	}
	for _, tc := range []struct {
		name          string
		list          []balance.Node
		homeA, nobody string // who answers a's user, and a new one; "" for any
	}{
		{"full", list(balance.Full, balance.Full), "a ", ""},
		{"suspect keeps its users", list(balance.Keep, balance.Full), "a ", "b "},
		{"draining gives them away", list(balance.Spare, balance.Full), "b ", "b "},
		{"gone", list(0, balance.Full), "b ", "b "},
		{"all spare", list(balance.Spare, balance.Spare), "a ", ""},
		{"rather suspect than spare", list(balance.Spare, balance.Keep), "b ", "b "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			source := make(told)
			d := open(t, source)
			source <- tc.list
			until(t, "nodes are known", func() bool { return d.log.count("node added") == len(tc.list) })
			for range 4 {
				if _, got := d.ask(t, "POST", "", "x.a"); got != tc.homeA {
					t.Errorf("a's user was answered by %q, want %q", got, tc.homeA)
				}
				if _, got := d.ask(t, "POST", ""); tc.nobody != "" && got != tc.nobody {
					t.Errorf("a new user was answered by %q, want %q", got, tc.nobody)
				}
			}
		})
	}
}

// A frozen node accepts requests and never answers. When the members have
// given it up, those who wait for it are sent on.
func TestWaitersOfAFrozenNode(t *testing.T) {
	a, b, frozen := newBackend(t, "a"), newBackend(t, "b"), make(chan struct{})
	a.handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-frozen })
	defer close(frozen)
	source := make(told)
	d := open(t, source)
	source <- fixedUse(fixed(a, b))
	until(t, "nodes are known", func() bool { return d.log.count("node added") == 2 })
	var users sync.WaitGroup
	for _, tc := range []struct{ method, want string }{{"GET", "b "}, {"POST", "502: the node broke off"}} {
		users.Go(func() {
			if _, got := d.ask(t, tc.method, "", "x.a"); !strings.HasPrefix(got, tc.want) {
				t.Errorf("%s: %q, want %q", tc.method, got, tc.want)
			}
		})
	}
	until(t, "both wait", func() bool { return a.hits.Load() == 2 })
	source <- fixedUse(fixed(b))
	users.Wait()
}

func fixedUse(f balance.Fixed) []balance.Node {
	for i := range f {
		f[i].Use = balance.Full
	}
	return f
}

func TestSourceThatFailsEndsRun(t *testing.T) {
	ln, err := balance.Listen(t.Context(), "balance.address", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	source := make(told)
	close(source)
	b, err := balance.New(balance.Config{}, source, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	err = b.Run(t.Context(), ln, nil)
	if err == nil || err.Error() != "no providers left" {
		t.Errorf("%v", err)
	}
}

// A balancer in front of the balancer ends TLS: nodes hear what its users see, and nothing that
// a stranger says.
func TestProxiesInFront(t *testing.T) {
	a := newBackend(t, "a")
	a.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "X-Real-Ip"} {
			fmt.Fprintf(w, "%s ", strings.Join(r.Header[name], "+"))
		}
		fmt.Fprint(w, r.Host)
	})
	for trusted, want := range map[string]string{
		"127.0.0.0/8":  "203.0.113.1 https shop.example   shop.example",
		"192.0.2.0/24": "127.0.0.1 http inner.example   inner.example",
	} {
		trust, err := forward.Parse([]string{trusted})
		if err != nil {
			t.Fatal(err)
		}
		d := openWith(t, balance.Config{Trust: trust}, fixed(a))
		until(t, "nodes are known", func() bool { return d.log.count("node added") == 1 })
		r, _ := http.NewRequestWithContext(t.Context(), "GET", d.url, nil)
		r.Host = "inner.example"
		r.Header.Set("X-Forwarded-For", "6.6.6.6, 203.0.113.1")
		r.Header.Set("X-Forwarded-Proto", "https")
		r.Header.Set("X-Forwarded-Host", "shop.example")
		r.Header.Set("Forwarded", "for=6.6.6.6")
		r.Header.Set("X-Real-Ip", "6.6.6.6")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if string(got) != want || err != nil {
			t.Errorf("%s trusted: %q %v, want %q", trusted, got, err, want)
		}
	}
}
