package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/deploy"
	"github.com/nodeserver/nodeserver/server/internal/headers"
	"github.com/nodeserver/nodeserver/webapps"
)

// What is written after Commit is committed at the end, and not if that is a panic.
func TestCommitInTheMiddle(t *testing.T) {
	t.Parallel()
	middle := make(chan bool)
	n := steps{"long": func(_ http.ResponseWriter, r *http.Request) {
		s := webapps.SessionOf(r)
		report(t, s.Set("n", 10))
		report(t, s.Commit(r.Context()))
		middle <- true
		<-middle
		report(t, s.Set("n", 20))
		if r.FormValue("panic") != "" {
			panic("on purpose")
		}
	}}.alone(t)
	u := newUser(t)
	u.want(n, "/test/inc", "1")
	for path, after := range map[string]string{"/test/long": "20 <nil>", "/test/long?panic=1": "10 <nil>"} {
		done := make(chan bool)
		go func() {
			defer close(done)
			u.get(n, path)
		}()
		<-middle
		u.want(n, "/test/get", "10 <nil>")
		middle <- true
		<-done
		u.want(n, "/test/get", after)
	}
}

// However the answer's head gets out before the handler ends.
func TestLateWritesAreKept(t *testing.T) {
	t.Parallel()
	late := func(begin func(w http.ResponseWriter)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			begin(w)
			report(t, s.Set("n", 42))
		}
	}
	n := steps{
		"flush":   late(func(w http.ResponseWriter) { w.(http.Flusher).Flush() }),
		"big":     late(func(w http.ResponseWriter) { _, _ = w.Write(make([]byte, 100_000)) }),
		"string":  late(func(w http.ResponseWriter) { _, _ = io.WriteString(w, strings.Repeat("x", 100_000)) }),
		"copy":    late(func(w http.ResponseWriter) { _, _ = io.Copy(w, strings.NewReader(strings.Repeat("x", 100_000))) }),
		"trailer": late(func(w http.ResponseWriter) { w.Header().Set("Trailer", "T"); w.WriteHeader(http.StatusOK) }),
		"hijack": late(func(w http.ResponseWriter) {
			c, _, err := w.(http.Hijacker).Hijack()
			report(t, err)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			_ = c.Close()
		}),
	}
	node := n.alone(t)
	for path := range n {
		u := newUser(t)
		u.want(node, "/test/inc", "1")
		u.get(node, "/test/"+path)
		eventually(t, path, func() bool { // the client may have its answer first
			_, got, _ := u.get(node, "/test/get")
			return got == "42 <nil>"
		})
	}
}

// An answer that takes the place of the app's has nothing of the app's body.
func TestPanicAnswerIsClean(t *testing.T) {
	t.Parallel()
	ofBody := []string{
		"Content-Length", "Content-Encoding", "Content-Range", "Content-Language", "Content-Disposition", "Content-Location",
		"Accept-Ranges", "Etag", "Expires", "Last-Modified", "Location", "Trailer", "Transfer-Encoding",
	}
	n := steps{"panic": func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		for _, name := range ofBody {
			if name != "Trailer" { // which is a reason to let the head go at once
				h.Set(name, "1")
			}
		}
		h.Set("Cache-Control", "public, max-age=3600")
		h.Set("Access-Control-Allow-Origin", "*")
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write([]byte("half of an ans"))
		webapps.SessionOf(r)
		panic("on purpose")
	}}.alone(t)
	_, b := do(t, "GET", n.url+"/test/raw", nil)
	resp, text := do(t, "GET", n.url+"/test/panic", nil)
	h := resp.Header
	if resp.StatusCode != http.StatusInternalServerError ||
		!strings.HasPrefix(string(text), "the app failed on this request; nothing was saved (error ") ||
		string(b) != "n1" {
		t.Errorf("%d %q", resp.StatusCode, text)
	}
	for _, name := range ofBody {
		if name != "Content-Length" && h[name] != nil {
			t.Errorf("%s: %q", name, h[name])
		}
	}
	if h.Get("Cache-Control") != "no-store" || h.Get("Access-Control-Allow-Origin") != "*" || h["Set-Cookie"] != nil ||
		h.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("headers %v", h)
	}
	if got := n.server.manager().Stats().Sessions; got != 0 {
		t.Errorf("%d sessions", got)
	}
}

// TestRefusedCommitIsFinal lets the node notice, amid a request, that it did not
// run for a while. The request's writes are refused, all of them, and its user
// is told once.
func TestRefusedCommitIsFinal(t *testing.T) {
	t.Parallel()
	var a *deploy.Place
	pause := func() { a.Manager().Core.Tick(10 * time.Minute) }
	n := steps{
		"end": func(w http.ResponseWriter, r *http.Request) {
			report(t, webapps.SessionOf(r).Set("n", 7))
			fmt.Fprint(w, "saved")
			pause()
		},
		"flush": func(w http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			report(t, s.Set("n", 7))
			pause()
			fmt.Fprint(w, "saved")
			w.(http.Flusher).Flush()
			w.WriteHeader(http.StatusOK)
			fmt.Fprint(w, "and more")
			report(t, s.Set("n", 8))
		},
		"hijack": func(w http.ResponseWriter, r *http.Request) {
			report(t, webapps.SessionOf(r).Set("n", 7))
			pause()
			if _, _, err := w.(http.Hijacker).Hijack(); err == nil {
				t.Error("hijacked though nothing was saved")
			}
			http.Error(w, "can't", http.StatusInternalServerError)
		},
		"panic": func(w http.ResponseWriter, r *http.Request) {
			report(t, webapps.SessionOf(r).Set("n", 7))
			pause()
			w.(http.Flusher).Flush()
			panic("on purpose")
		},
	}
	for path := range n {
		node := n.alone(t) // its clock is spoilt afterwards
		a = node.server.first()
		u := newUser(t)
		u.want(node, "/test/inc", "1")
		status, body, h := u.get(node, "/test/"+path)
		if status != http.StatusServiceUnavailable || body != "this node is not ready: it still gets the sessions from the others\n" ||
			h.Get("Retry-After") != "1" ||
			h["Set-Cookie"] != nil ||
			h.Get(headers.Retry) != "" {
			t.Errorf("%s: %d %q %v", path, status, body, h)
		}
		eventually(t, "ready again", func() bool { a.Manager().Core.Tick(10*time.Minute + time.Second); return a.Manager().Core.Ready() })
		_, got, _ := u.get(node, "/test/get")
		if got != "1 <nil>" {
			t.Errorf("%s: afterwards %q", path, got)
		}
		node.stop()
	}
}

// A 101 of another protocol than WebSocket, with a body before it that a proxy
// might send, gets through as with net/http.
func TestHijackAfterAHead(t *testing.T) {
	t.Parallel()
	n := steps{"connect": func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "raw")
	}}.alone(t)
	answer := raw(t, n, "GET /test/connect HTTP/1.1\r\nHost: x\r\n\r\n")
	if head, _, _ := strings.Cut(answer, "\r\n"); head != "HTTP/1.1 202 Accepted" || !strings.Contains(answer, "raw") {
		t.Errorf("%q", answer)
	}
}

// Where a connection can't be hijacked, the handler may say so.
func TestHijackRefused(t *testing.T) {
	t.Parallel()
	s := unstarted(t, testConf("n1"), writesN(func(w http.ResponseWriter, r *http.Request) {
		report(t, webapps.SessionOf(r).Set("n", 1))
		if _, _, err := w.(http.Hijacker).Hijack(); err == nil {
			t.Error("a connection from nowhere")
		}
		http.Error(w, "no upgrade here", http.StatusUpgradeRequired)
	}))
	resp := s.ask(t, "/test/")
	b, _ := bufio.NewReader(resp.Body).ReadString('\n')
	if resp.StatusCode != http.StatusUpgradeRequired || b != "no upgrade here\n" || len(resp.Cookies()) != 1 {
		t.Errorf("%d %q %v", resp.StatusCode, b, resp.Header)
	}
}

// A user who is gone, or a balancer that gave up, ends what waits for them;
// what was written is kept.
func TestUserWhoIsGone(t *testing.T) {
	t.Parallel()
	in := make(chan bool)
	done := make(chan bool)
	n := steps{"wait": func(_ http.ResponseWriter, r *http.Request) {
		defer close(done)
		report(t, webapps.SessionOf(r).Set("n", 33))
		in <- true
		<-r.Context().Done()
	}}.alone(t)
	u := newUser(t)
	u.want(n, "/test/inc", "1")
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+"/test/wait", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	go func() { <-in; cancel() }()
	if resp, err := u.web.Do(r); err == nil {
		_ = resp.Body.Close()
		t.Error("answered")
	}
	<-done
	eventually(t, "the write", func() bool { _, got, _ := u.get(n, "/test/get"); return got == "33 <nil>" })
}

// Only of a request that no handler has seen does a node say that another node
// may be asked instead, whatever its method.
func TestRetryElsewhereIsSaidBeforeTheHandler(t *testing.T) {
	s := unstarted(
		t,
		testConf("n1"),
		steps{"post": func(http.ResponseWriter, *http.Request) { t.Error("the handler of a node that is not ready runs") }}.app(),
	)
	w := httptest.NewRecorder()
	s.first().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/test/post", strings.NewReader("x")))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get(headers.Retry) != "next" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if r := s.ask(t, "/test/panic"); r.StatusCode != http.StatusInternalServerError || r.Header.Get(headers.Retry) != "" {
		t.Errorf("a handler's failure: %d %v", r.StatusCode, r.Header)
	}
}

// slowHead is a writer whose Header waits when it is told to.
type slowHead struct {
	*httptest.ResponseRecorder
	asked, free chan bool // asked nil: it doesn't wait
}

func (w *slowHead) Header() http.Header {
	if asked := w.asked; asked != nil {
		w.asked = nil
		asked <- true
		<-w.free
	}
	return w.ResponseRecorder.Header()
}

// A handler panics while a goroutine of its own makes the first flush: each of
// the two needs the locks of the response and of its visit, in the same order.
func TestPanicDuringAFlush(t *testing.T) {
	t.Parallel()
	under := &slowHead{httptest.NewRecorder(), nil, make(chan bool)}
	flushed := make(chan bool)
	s := unstarted(t, testConf("n1"), steps{"panic": func(w http.ResponseWriter, r *http.Request) {
		report(t, webapps.SessionOf(r).Set("n", 1))
		asked := make(chan bool)
		under.asked = asked
		go func() {
			defer close(flushed)
			w.(http.Flusher).Flush()
		}()
		<-asked // now the flush is on its way from the one lock to the other
		panic("on purpose")
	}}.app())
	s.tick()
	ended := make(chan any)
	go func() {
		defer func() { ended <- recover() }()
		s.httpServer().Handler.ServeHTTP(under, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/test/panic", http.NoBody))
	}()
	stacks := make([]byte, 1<<20)
	waits := regexp.MustCompile(`\[sync\.Mutex\.Lock[^\n]*\n(?:[^\n]+\n)*?[^\n]*session\.\(\*\w+\)\.discard\(`)
	eventually(t, "the panic waits for a lock", func() bool { return waits.Match(stacks[:runtime.Stack(stacks, true)]) })
	close(under.free)
	over := flushed
	for range 2 {
		select {
		case p := <-ended:
			if p != http.ErrAbortHandler { //nolint:errorlint // a panic's value
				t.Errorf("an answer that has begun ends with %v", p)
			}
		case <-over:
			over = nil
		case <-time.After(10 * time.Second):
			t.Fatal("the request, or its flush, hangs")
		}
	}
	if cookieOf(t, under.Result().Header) == "" {
		t.Error("the flush has committed the session, and its user has no cookie")
	}
}
