package server

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/webapps"
)

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
			if !s.IsNew() || s.Created() != s.LastAccess() || s.Created().Sub(begun) < -time.Second || time.Since(s.Created()) < 0 ||
				s.MaxInactive() != 30*time.Minute {
				t.Errorf("new %v, created %v, last %v, lives %v", s.IsNew(), s.Created(), s.LastAccess(), s.MaxInactive())
			}
			if again, ok := webapps.ExistingSession(r); !ok || again != s || webapps.SessionOf(r) != s {
				t.Error("a request has two sessions")
			}
			fmt.Fprint(w, s.Names())
		},
		"second": func(w http.ResponseWriter, r *http.Request) {
			s, ok := webapps.ExistingSession(r)
			if !ok || s.ID() != id || s.IsNew() || s.Principal() != "" ||
				!s.LastAccess().After(s.Created()) && s.LastAccess() != s.Created() {
				t.Errorf("%v, id %v, new %v, created %v, last %v", ok, s.ID() == id, s.IsNew(), s.Created(), s.LastAccess())
			}
			before := id
			report(t, s.ChangeID())
			_ = s.SetPrincipal("ann")
			id = s.ID()
			s.SetMaxInactive(time.Hour)
			s.Remove("b")
			if s.Principal() != "ann" || s.MaxInactive() != time.Hour || id == before {
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
				`app test: set attribute "blob": the session is too large (limits: ` +
					`sessions.max_session_bytes, 1024 attributes)`: s.Set("blob", make([]byte, 1<<20)),
				`app test: set attribute "big": the session is too large (limits: ` +
					`sessions.max_session_bytes, 1024 attributes)`: s.Set("big", make([]byte, 1<<20)),
				`app test: set attribute "": attribute name of 0 bytes: want 1 to 256`: s.Set("", 1),
				`app test: set attribute "` + strings.Repeat("n", 257) +
					`": attribute name of 257 bytes: want 1 to 256`: s.Set(strings.Repeat("n", 257), 1),
				`app test: set attribute "c": a chan int can't be stored: ` +
					`cbor: unsupported type: chan int`: s.Set("c", make(chan int)),
				`app test: set attribute "nothing": nil can't be stored: use Remove`: s.Set("nothing", nil),
				`app test: update attribute "good": want a pointer to ` +
					`read into, not a string`: s.Update("good", text, func() error { return nil }),
				`app test: update attribute "good": the stored string doesn't ` +
					`fit a int`: s.Update("good", new(int), func() error { t.Error("changed what was not read"); return nil }),
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
					if !strings.Contains(err.Error(), "the session is too large (limits: sessions.max_session_bytes, 1024 attributes)") {
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
				if err == nil || !strings.HasPrefix(err.Error(), "app test: ") || !strings.HasSuffix(err.Error(), "the session has ended") {
					t.Errorf("after Invalidate: %v", err)
				}
			}
			_ = s.SetPrincipal("nobody")
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
				_ = s.SetPrincipal(name)
				s.SetMaxInactive(time.Duration(i+1) * time.Minute)
				report(t, s.Update("n", new(int), func() error { return nil }))
				s.Acks(webapps.AcksOne)
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
	if got := n.server.manager().Stats().Sessions; got != 1 {
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
			_ = webapps.SessionOf(r).SetPrincipal("ann")
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
	for path, changes := range map[string]bool{
		"twice": true, "committed%20between": true, "then%20a%20panic": true,
		"only%20a%20panic": false,
	} {
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
			_ = webapps.SessionOf(r).SetPrincipal("ann")
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
	if got := n.server.manager().Stats(); got.Sessions != 2 || got.Tombstones != 3 { // of those of the table, and what they left
		t.Errorf("%d sessions, %d tombstones", got.Sessions, got.Tombstones)
	}
}
