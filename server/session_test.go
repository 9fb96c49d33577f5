package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/webapps"
)

// steps are paths of an app, and what they do.
type steps map[string]http.HandlerFunc

// app has these paths besides those of testApp.
func (s steps) app() webapps.App {
	app := testApp()
	inner := app.New
	app.New = func(c webapps.Context) (http.Handler, error) {
		others, err := inner(c)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if f := s[strings.TrimPrefix(r.URL.Path, "/")]; f != nil {
				f(w, r)
				return
			}
			others.ServeHTTP(w, r)
		}), err
	}
	return app
}

// alone runs the app on one node.
func (s steps) alone(t *testing.T) *node {
	t.Helper()
	n := startNode(t, testConf("n1"), s.app())
	n.waitReady()
	return n
}

// tap lets a node's members' bytes through, or holds them.
type tap struct {
	mu   sync.Mutex
	wait chan struct{} // nil: open
}

func (p *tap) shut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wait == nil {
		p.wait = make(chan struct{})
	}
}

func (p *tap) open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wait != nil {
		close(p.wait)
		p.wait = nil
	}
}

type tapped struct {
	net.Listener
	tap *tap
}

func (l tapped) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return tappedConn{c, l.tap}, err
}

type tappedConn struct {
	net.Conn
	tap *tap
}

func (c tappedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.tap.mu.Lock()
	wait := c.tap.wait
	c.tap.mu.Unlock()
	if wait != nil {
		<-wait
	}
	return n, err
}

// pair runs two nodes. What n1 sends to n2 can be held, for half a second:
// then n2 begins to wonder.
func pair(t *testing.T, app webapps.App, change func(*Config)) (n1, n2 *node, toN2 *tap) {
	t.Helper()
	toN2 = new(tap)
	conf := func(name string, static ...string) Config {
		c := testConf(name, static...)
		if change != nil {
			change(&c)
		}
		return c
	}
	n1 = startNode(t, conf("n1"), app)
	n2 = startNodeAt(t, conf("n2", n1.channel()), tapped{listen(t), toN2}, app)
	t.Cleanup(toN2.open)
	for _, n := range []*node{n1, n2} {
		n.waitReady()
		eventually(t, "two members", func() bool { return len(strings.Fields(n.server.names())) == 2 })
	}
	return n1, n2, toN2
}

// same keeps an error of a handler's.
func report(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func TestSessionTellsAboutItself(t *testing.T) {
	t.Parallel()
	var id string
	begun := time.Now()
	n := steps{
		"first": func(w http.ResponseWriter, r *http.Request) {
			if _, ok := webapps.ExistingSession(r); ok {
				t.Error("there is a session before it was asked for")
			}
			s := webapps.SessionOf(r)
			id = s.ID()
			report(t, s.Set("b", 1))
			report(t, s.Set("a", "x"))
			report(t, s.Set("c", 1))
			s.Remove("c")
			s.Remove("never was")
			if !s.IsNew() || s.Created() != s.LastAccess() || s.Created().Sub(begun) < -time.Second || time.Since(s.Created()) < 0 || s.MaxInactive() != 30*time.Minute {
				t.Errorf("new %v, created %v, last %v, lives %v", s.IsNew(), s.Created(), s.LastAccess(), s.MaxInactive())
			}
			if again, ok := webapps.ExistingSession(r); !ok || again != s || webapps.SessionOf(r) != s {
				t.Error("a request has two sessions")
			}
			fmt.Fprint(w, s.Names())
		},
		"second": func(w http.ResponseWriter, r *http.Request) {
			s, ok := webapps.ExistingSession(r)
			if !ok || s.ID() != id || s.IsNew() || s.Principal() != "" || !s.LastAccess().After(s.Created()) && s.LastAccess() != s.Created() {
				t.Errorf("%v, id %v, new %v, created %v, last %v", ok, s.ID() == id, s.IsNew(), s.Created(), s.LastAccess())
			}
			report(t, s.ChangeID())
			s.SetPrincipal("ann")
			s.SetMaxInactive(time.Hour)
			s.Remove("b")
			if s.Principal() != "ann" || s.MaxInactive() != time.Hour || s.ID() != id {
				t.Error("a request doesn't see what it has changed")
			}
			var got string
			found, err := s.Get("b", &got)
			if found || err != nil {
				t.Errorf("a removed attribute: %v %v", found, err)
			}
			fmt.Fprint(w, s.Names())
		},
		"third": func(w http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			s.SetMaxInactive(0)
			fmt.Fprint(w, s.Names(), s.Principal(), s.MaxInactive(), s.ID() == id)
		},
	}.alone(t)
	u := newUser(t)
	u.want(n, "/test/first", "[a b]")
	u.want(n, "/test/second", "[a]")
	u.want(n, "/test/third", "[a]ann0s true")
}

// Errors name app, attribute, type and limit, and leave the rest of the
// request's writes alone.
func TestSessionErrorsSayWhat(t *testing.T) {
	t.Parallel()
	n := steps{
		"write": func(w http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			report(t, s.Set("good", "kept"))
			report(t, s.Set("big", make([]byte, 1<<20-1000)))
			var text string
			for what, err := range map[string]error{
				`app test: set attribute "blob": session too large (limits: sessions.max_session_bytes, 1024 attributes)`: s.Set("blob", make([]byte, 1<<20)),
				`app test: set attribute "big": session too large (limits: sessions.max_session_bytes, 1024 attributes)`:  s.Set("big", make([]byte, 1<<20)),
				`app test: set attribute "": attribute name of 0 bytes: want 1 to 256`:                                    s.Set("", 1),
				`app test: set attribute "` + strings.Repeat("n", 257) + `": attribute name of 257 bytes: want 1 to 256`:  s.Set(strings.Repeat("n", 257), 1),
				`app test: set attribute "c": a chan int can't be stored: cbor: unsupported type: chan int`:               s.Set("c", make(chan int)),
				`app test: set attribute "nothing": nil can't be stored: use Remove`:                                      s.Set("nothing", nil),
				`app test: update attribute "good": want a pointer to read into, not a string`:                            s.Update("good", text, func() error { return nil }),
				`app test: read attribute "good": the stored string doesn't fit a int`:                                    s.Update("good", new(int), func() error { t.Error("changed what was not read"); return nil }),
				"mine": s.Update("good", &text, func() error { text = "lost"; return fmt.Errorf("mine") }),
			} {
				if err == nil || err.Error() != what {
					t.Errorf("got  %v\nwant %s", err, what)
				}
			}
			fmt.Fprint(w, s.Names())
		},
		"many": func(_ http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			for i := range 1024 {
				if err := s.Set("n"+strconv.Itoa(i), i); err != nil {
					if !strings.Contains(err.Error(), "session too large (limits: sessions.max_session_bytes, 1024 attributes)") {
						t.Error(err)
					}
					return
				}
			}
			t.Error("a session has more than 1024 attributes")
		},
		"read": func(w http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			good, _, err := webapps.Get[string](s, "good")
			var n int
			found, wrong := s.Get("good", &n)
			fmt.Fprint(w, good, err, " ", found, wrong)
		},
		"end": func(_ http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			s.Invalidate()
			for _, err := range []error{s.Set("a", 1), s.ChangeID(), s.Update("a", new(int), func() error { return nil })} {
				if err == nil || !strings.HasPrefix(err.Error(), "app test: ") || !strings.HasSuffix(err.Error(), "session is gone") {
					t.Errorf("after Invalidate: %v", err)
				}
			}
			s.SetPrincipal("nobody")
			s.SetMaxInactive(time.Hour)
			s.Remove("good")
			if good, found, err := webapps.Get[string](s, "good"); found || err != nil || len(s.Names()) > 0 {
				t.Errorf("an invalidated session holds %q %v", good, err)
			}
		},
	}.alone(t)
	u := newUser(t)
	u.want(n, "/test/write", "[big good]")
	u.want(n, "/test/many", "")
	u.want(n, "/test/read", `kept<nil> true app test: read attribute "good": the stored string doesn't fit a int`)
	u.want(n, "/test/end", "")
	u.want(n, "/test/get", "none")
}

// Whatever becomes of a request with an Update, the next one's does not wait for it.
func TestUpdateLockEndsWithItsRequest(t *testing.T) {
	t.Parallel()
	add := func(r *http.Request, err error) error {
		var n int
		return webapps.SessionOf(r).Update("n", &n, func() error { n++; return err })
	}
	no := fmt.Errorf("no")
	n := steps{
		"panic": func(_ http.ResponseWriter, r *http.Request) { report(t, add(r, nil)); panic("on purpose") },
		"panic inside": func(_ http.ResponseWriter, r *http.Request) {
			_ = webapps.SessionOf(r).Update("n", new(int), func() error { panic("on purpose") })
		},
		"error": func(_ http.ResponseWriter, r *http.Request) { _ = add(r, no) },
		"nothing written after a flush": func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			_ = add(r, no)
		},
		"written after a flush": func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			report(t, add(r, nil))
		},
		"panic after a flush": func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			report(t, add(r, nil))
			panic("on purpose")
		},
		"hijacked": func(w http.ResponseWriter, r *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			report(t, err)
			_ = add(r, no)
			_ = c.Close()
		},
		"hijacked, panic": func(w http.ResponseWriter, r *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			report(t, err)
			_ = c.Close()
			report(t, add(r, nil))
			panic("on purpose")
		},
		"invalidated": func(_ http.ResponseWriter, r *http.Request) {
			report(t, add(r, nil))
			webapps.SessionOf(r).Invalidate()
		},
		"committed": func(_ http.ResponseWriter, r *http.Request) {
			report(t, add(r, nil))
			report(t, webapps.SessionOf(r).Commit(r.Context()))
			_ = add(r, no)
		},
	}
	node := n.alone(t)
	want := map[string]string{"written after a flush": "3", "invalidated": "1", "committed": "3"}
	for name := range n {
		t.Run(name, func(t *testing.T) {
			u := newUser(t)
			u.want(node, "/test/inc", "1")
			if r, err := u.web.Get(node.url + "/test/" + strings.ReplaceAll(name, " ", "%20")); err == nil {
				_, _ = io.Copy(io.Discard, r.Body) // may be broken off
				_ = r.Body.Close()
			}
			next := want[name]
			if next == "" {
				next = "2"
			}
			u.want(node, "/test/inc", next) // the client gives up after 5 s
		})
	}
}

// What change does to the session beside its own attribute, counts.
func TestUpdateMayUseTheSession(t *testing.T) {
	t.Parallel()
	n := steps{"both": func(w http.ResponseWriter, r *http.Request) {
		s := webapps.SessionOf(r)
		report(t, s.Set("step", 5))
		var n int
		report(t, s.Update("n", &n, func() error {
			step, _, err := webapps.Get[int](s, "step")
			n += step
			s.Remove("step")
			return s.Set("was", fmt.Sprint(s.Names(), err))
		}))
		was, _, _ := webapps.Get[string](s, "was")
		fmt.Fprint(w, n, " ", was, s.Names())
	}}.alone(t)
	newUser(t).want(n, "/test/both", "5 [] <nil>[n was]")
}

func TestParallelUpdatesAddUp(t *testing.T) {
	t.Parallel()
	n := steps{"three": func(_ http.ResponseWriter, r *http.Request) {
		s := webapps.SessionOf(r)
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				var n int
				report(t, s.Update("n", &n, func() error { n++; return nil }))
			})
		}
		all.Wait()
	}}.alone(t)
	u := newUser(t)
	u.want(n, "/test/three", "") // a new session, too
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { u.get(n, "/test/three") })
	}
	all.Wait()
	u.want(n, "/test/get", "63 <nil>")
}

// Goroutines of one handler share its session; the race detector watches.
func TestGoroutinesOfARequest(t *testing.T) {
	t.Parallel()
	n := steps{"all": func(w http.ResponseWriter, r *http.Request) {
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				s := webapps.SessionOf(r)
				name := "a" + strconv.Itoa(i)
				report(t, s.Set(name, i))
				report(t, s.Set("shared", i))
				_, _, err := webapps.Get[int](s, "shared")
				report(t, err)
				report(t, s.ChangeID())
				s.SetPrincipal(name)
				s.SetMaxInactive(time.Duration(i+1) * time.Minute)
				report(t, s.Update("n", new(int), func() error { return nil }))
				s.Acks("one")
				report(t, s.Commit(r.Context()))
				_, _, _, _, _, _ = s.ID(), s.IsNew(), s.Created(), s.LastAccess(), s.MaxInactive(), s.Names()
				if _, ok := webapps.ExistingSession(r); !ok || s.Principal() == "" {
					t.Error("no session, or no principal")
				}
				_, _ = io.WriteString(io.Discard, s.ID())
			})
		}
		all.Wait()
		fmt.Fprint(w, len(webapps.SessionOf(r).Names()))
	}}.alone(t)
	u := newUser(t)
	for range 3 { // the cookie that is sent is the one that counts, of the 16 that were drawn
		h := u.want(n, "/test/all", "10")
		if len(h["Set-Cookie"]) != 1 {
			t.Errorf("cookies: %q", h["Set-Cookie"])
		}
		u.want(n, "/test/get", "0 <nil>")
	}
	if got := n.server.apps[0].manager.Stats().Sessions; got != 1 {
		t.Errorf("%d sessions", got)
	}
}

// cookieOf is the value of the session cookie that an answer sets, "" for none.
func cookieOf(t *testing.T, h http.Header) string {
	t.Helper()
	var values []string
	for _, c := range (&http.Response{Header: h}).Cookies() {
		if c.Name == "NSESSIONID" {
			values = append(values, c.Value)
		}
	}
	if len(values) > 1 {
		t.Errorf("the session cookie is set %d times", len(values))
	}
	return strings.Join(values, "")
}

func TestIDsChangedInOneRequest(t *testing.T) {
	t.Parallel()
	n := steps{
		"twice": func(_ http.ResponseWriter, r *http.Request) {
			report(t, webapps.SessionOf(r).ChangeID())
			report(t, webapps.SessionOf(r).ChangeID())
		},
		"committed between": func(_ http.ResponseWriter, r *http.Request) {
			report(t, webapps.SessionOf(r).ChangeID())
			report(t, webapps.SessionOf(r).Commit(r.Context()))
			webapps.SessionOf(r).SetPrincipal("ann")
		},
		"then a panic": func(_ http.ResponseWriter, r *http.Request) {
			report(t, webapps.SessionOf(r).ChangeID())
			report(t, webapps.SessionOf(r).Commit(r.Context()))
			report(t, webapps.SessionOf(r).Set("n", 99))
			report(t, webapps.SessionOf(r).ChangeID())
			panic("on purpose")
		},
		"only a panic": func(_ http.ResponseWriter, r *http.Request) {
			report(t, webapps.SessionOf(r).ChangeID())
			panic("on purpose")
		},
	}.alone(t)
	for path, changes := range map[string]bool{"twice": true, "committed%20between": true, "then%20a%20panic": true, "only%20a%20panic": false} {
		u, before := newUser(t), newUser(t)
		u.want(n, "/test/inc", "1")
		before.web.Jar = cloneJar(t, u, []*node{n})
		_, _, h := u.get(n, "/test/"+path)
		if got := cookieOf(t, h); (got != "") != changes {
			t.Errorf("%s: cookie %q", path, got)
		}
		u.want(n, "/test/get", "1 <nil>")
		if changes {
			before.want(n, "/test/get", "none")
		}
	}
	// A new session, too.
	u := newUser(t)
	if h := u.want(n, "/test/twice", ""); cookieOf(t, h) == "" {
		t.Error("no cookie")
	}
	u.want(n, "/test/inc", "1")
	u.want(n, "/test/inc", "2")
}

func TestEndsInOneRequest(t *testing.T) {
	t.Parallel()
	n := steps{
		"login, logout": func(_ http.ResponseWriter, r *http.Request) {
			webapps.SessionOf(r).SetPrincipal("ann")
			webapps.SessionOf(r).Invalidate()
			if _, ok := webapps.ExistingSession(r); ok {
				t.Error("an invalidated session is there")
			}
		},
		"anew": func(w http.ResponseWriter, r *http.Request) {
			for i := range 3 { // two of them nobody ever sees
				s := webapps.SessionOf(r)
				report(t, s.Set("n", 10+i))
				if i < 2 {
					s.Invalidate()
				} else if !s.IsNew() {
					t.Error("not new")
				}
			}
			fmt.Fprint(w, webapps.SessionOf(r).Names())
		},
		"panic": func(_ http.ResponseWriter, r *http.Request) {
			webapps.SessionOf(r).Invalidate()
			report(t, webapps.SessionOf(r).Set("n", 99))
			panic("on purpose")
		},
		"committed, panic": func(_ http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			s.Invalidate()
			report(t, s.Commit(r.Context()))
			panic("on purpose")
		},
	}.alone(t)
	for path, c := range map[string]struct{ cookie, after string }{
		"login,%20logout":    {"deleted", "none"},
		"anew":               {"new", "12 <nil>"},
		"panic":              {"", "1 <nil>"},
		"committed,%20panic": {"deleted", "none"},
	} {
		u, before := newUser(t), newUser(t)
		u.want(n, "/test/inc", "1")
		before.web.Jar = cloneJar(t, u, []*node{n})
		_, _, h := u.get(n, "/test/"+path)
		got := ""
		if cookieOf(t, h) != "" {
			got = "new"
		} else if h["Set-Cookie"] != nil {
			got = "deleted"
		}
		if got != c.cookie || len(h["Set-Cookie"]) > 1 {
			t.Errorf("%s: %q", path, h["Set-Cookie"])
		}
		u.want(n, "/test/get", c.after)
		if c.cookie != "" {
			before.want(n, "/test/get", "none")
		}
	}
	// Of a session that began and ended in one request nothing is left, and nothing is said.
	_, _, h := newUser(t).get(n, "/test/login,%20logout")
	if h["Set-Cookie"] != nil {
		t.Errorf("cookies: %q", h["Set-Cookie"])
	}
	if got := n.server.apps[0].manager.Stats(); got.Sessions != 2 || got.Tombstones != 3 { // of those of the table, and what they left
		t.Errorf("%d sessions, %d tombstones", got.Sessions, got.Tombstones)
	}
}

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
	if resp.StatusCode != http.StatusInternalServerError || !strings.HasPrefix(string(text), "the app failed on this request; nothing was saved (error ") || string(b) != "n1" {
		t.Errorf("%d %q", resp.StatusCode, text)
	}
	for _, name := range ofBody {
		if name != "Content-Length" && h[name] != nil {
			t.Errorf("%s: %q", name, h[name])
		}
	}
	if h.Get("Cache-Control") != "no-store" || h.Get("Access-Control-Allow-Origin") != "*" || h["Set-Cookie"] != nil || h.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("headers %v", h)
	}
	if got := n.server.apps[0].manager.Stats().Sessions; got != 0 {
		t.Errorf("%d sessions", got)
	}
}

// TestRefusedCommitIsFinal lets the node notice, amid a request, that it did not
// run for a while. The request's writes are refused, all of them, and its user
// is told once.
func TestRefusedCommitIsFinal(t *testing.T) {
	t.Parallel()
	var a *app
	pause := func() { a.manager.Core.Tick(10 * time.Minute) }
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
		a = node.server.apps[0]
		u := newUser(t)
		u.want(node, "/test/inc", "1")
		status, body, h := u.get(node, "/test/"+path)
		if status != http.StatusServiceUnavailable || body != "this node is not ready: it still gets the sessions from the others\n" || h.Get("Retry-After") != "1" || h["Set-Cookie"] != nil {
			t.Errorf("%s: %d %q %v", path, status, body, h)
		}
		eventually(t, "ready again", func() bool { a.manager.Tick(10*time.Minute + time.Second); return a.manager.Core.Ready() })
		_, got, _ := u.get(node, "/test/get")
		if got != "1 <nil>" {
			t.Errorf("%s: afterwards %q", path, got)
		}
		node.stop()
	}
}

const unacked = "the change was made here and goes on replicating, but not enough other nodes have confirmed it in time; it may be there when you try again\n"

// What a member that doesn't answer means for each mode.
func TestAcksBesideASlowMember(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		acks, onTimeout, path string
		status                int
		body, header          string
	}{
		{"async", "proceed", "inc", 200, "2", ""},
		{"all", "proceed", "inc", 200, "2", "0/1"},
		{"majority", "proceed", "inc", 200, "2", "0/1"},
		{"all", "fail", "inc", 503, unacked, "0/1"},
		{"one", "fail", "inc", 503, unacked, "0/1"},
		{"all", "fail", "get", 200, "1 <nil>", ""},
		{"async", "fail", "inc?acks=all", 503, unacked, "0/1"},
		{"all", "fail", "inc?acks=async", 200, "2", ""},
	} {
		t.Run(c.acks+" "+c.onTimeout+" "+c.path, func(t *testing.T) {
			t.Parallel()
			app := testApp()
			inner := app.New
			app.New = func(c webapps.Context) (http.Handler, error) {
				h, err := inner(c)
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if level := r.FormValue("acks"); level != "" {
						webapps.SessionOf(r).Acks(level)
					}
					h.ServeHTTP(w, r)
				}), err
			}
			n1, n2, toN2 := pair(t, app, func(cfg *Config) {
				cfg.Replication.Acks, cfg.Replication.OnAckTimeout, cfg.Replication.AckTimeout = c.acks, c.onTimeout, 50*time.Millisecond
			})
			u := newUser(t)
			u.want(n1, "/test/inc", "1") // waits for n2: a new session does in every mode
			toN2.shut()
			status, body, h := u.get(n1, "/test/"+c.path)
			if status != c.status || body != c.body || h.Get("Nodeserver-Replicated") != c.header || (h.Get("Retry-After") == "1") != (status == 503) || h["Set-Cookie"] != nil {
				t.Errorf("%d %q %v", status, body, h)
			}
			toN2.open()
			after := "2 <nil>"
			if c.path == "get" {
				after = "1 <nil>"
			}
			u.want(n1, "/test/get", after)
			eventually(t, "it is at n2", func() bool { _, got, _ := u.get(n2, "/test/get"); return got == after })
		})
	}
}

func TestUnknownAckLevelIsABug(t *testing.T) {
	t.Parallel()
	n := steps{"bad": func(_ http.ResponseWriter, r *http.Request) { webapps.SessionOf(r).Acks("some") }}.alone(t)
	if status, _, _ := newUser(t).get(n, "/test/bad"); status != http.StatusInternalServerError {
		t.Errorf("status %d", status)
	}
}

func TestMaxInactiveOfOneSession(t *testing.T) {
	t.Parallel()
	cfg := testConf("n1")
	cfg.Sessions.MaxInactive = 10 * time.Second // the shorter, the more often it is looked for those that are over
	n := startNode(t, cfg, steps{"short": func(_ http.ResponseWriter, r *http.Request) {
		webapps.SessionOf(r).SetMaxInactive(300 * time.Millisecond)
	}}.app())
	n.waitReady()
	short, long := newUser(t), newUser(t)
	short.want(n, "/test/inc", "1")
	long.want(n, "/test/inc", "1")
	short.want(n, "/test/short", "")
	short.want(n, "/test/get", "1 <nil>")
	eventually(t, "one session has expired", func() bool { return n.server.apps[0].manager.Stats().Sessions == 1 })
	short.want(n, "/test/get", "none")
	long.want(n, "/test/get", "1 <nil>")
}

// The absolute lifetime ends a session however busy it is.
func TestAbsoluteLifetime(t *testing.T) {
	t.Parallel()
	cfg := testConf("n1")
	cfg.Sessions.AbsoluteLifetime = 400 * time.Millisecond
	n := startNode(t, cfg, testApp())
	n.waitReady()
	u := newUser(t)
	u.want(n, "/test/inc", "1")
	begun := time.Now()
	eventually(t, "its end", func() bool { _, got, _ := u.get(n, "/test/get"); return got == "none" })
	if took := time.Since(begun); took < 350*time.Millisecond {
		t.Errorf("it lived for %v", took)
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

// A user who is gone, or a front door that gave up, ends what waits for him;
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
