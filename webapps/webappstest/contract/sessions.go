package contract

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/webapps"
	"github.com/nodeserver/nodeserver/webapps/webappstest"
)

func update(h *host) {
	stop := errors.New("stop")
	u := h.newUser()
	u.with(func(s *webapps.Session) {
		n := 5
		err := s.Update("n", &n, func() error {
			if n != 0 {
				h.t.Errorf("n is %d where there is none, want its zero value", n)
			}
			n = 1
			return stop
		})
		if err != stop || len(s.Names()) != 0 { //nolint:errorlint // as it is
			h.t.Errorf("%v %v", err, s.Names())
		}
		h.report(s.Update("n", &n, func() error {
			n++
			h.report(s.Set("other", "set meanwhile"))
			return nil
		}))
		var list []string
		h.report(s.Update("list", &list, func() error { list = append(list, "a"); return nil }))
		h.is(s.Update("n", n, func() error { return nil }), `app contract: update attribute "n": want a pointer to read into, not a int`)
		err = s.Update("n", &n, func() error { n = 7; return s.Set("n", nil) })
		h.is(err, `app contract: set attribute "n": nil can't be stored: use Remove`)
		err = s.Update("blob", new([]byte), func() error { return nil })
		h.report(err)
		blob := []byte{1}
		err = s.Update("blob", &blob, func() error { blob = make([]byte, 2<<20); return nil })
		h.is(err, `app contract: update attribute "blob": the session is too large (limits: sessions.max_session_bytes, 1024 attributes)`)
	})
	u.with(func(s *webapps.Session) {
		n, _, err := webapps.Get[int](s, "n")
		list, _, err2 := webapps.Get[[]string](s, "list")
		if n != 1 || err != nil || fmt.Sprint(list) != "[a]" || err2 != nil {
			h.t.Errorf("%d %v %v %v", n, err, list, err2)
		}
	})
	u.shows("other", "set meanwhile")
}

func updatesAddUp(h *host) {
	const requests, each = 8, 5
	u := h.newUser()
	u.with(func(*webapps.Session) {})
	var all sync.WaitGroup
	for range requests {
		all.Go(func() {
			u.with(func(s *webapps.Session) {
				for range each {
					var n int
					h.report(s.Update("n", &n, func() error { n++; return nil }))
				}
			})
		})
	}
	all.Wait()
	u.with(func(s *webapps.Session) {
		if n, _, err := webapps.Get[int](s, "n"); n != requests*each || err != nil {
			h.t.Errorf("%d, %v", n, err)
		}
	})
}

// Whatever becomes of a request with an Update, the next one's does not wait for it.
func updateLock(h *host) {
	u := h.newUser()
	u.begin()
	add := func(s *webapps.Session, err error) error {
		var n int
		return s.Update("n", &n, func() error { n++; return err })
	}
	no := errors.New("no")
	for _, step := range []http.HandlerFunc{
		func(_ http.ResponseWriter, r *http.Request) {
			h.report(add(webapps.SessionOf(r), nil))
			panic("on purpose")
		},
		func(_ http.ResponseWriter, r *http.Request) {
			_ = webapps.SessionOf(r).Update("n", new(int), func() error { panic("on purpose") })
		},
		func(_ http.ResponseWriter, r *http.Request) { _ = add(webapps.SessionOf(r), no) },
		func(w http.ResponseWriter, r *http.Request) {
			flushNow(h, w)
			_ = add(webapps.SessionOf(r), no)
		},
	} {
		u.serve(step)
	}
	u.with(func(s *webapps.Session) {
		h.report(add(s, nil))
		h.report(s.Commit(context.Background()))
		u.with(func(s *webapps.Session) { h.report(add(s, nil)) }) // while the first request goes on
	})
	u.with(func(s *webapps.Session) {
		if n, _, err := webapps.Get[int](s, "n"); n != 2 || err != nil {
			h.t.Errorf("%d, %v", n, err)
		}
	})
}

func flash(h *host) {
	u := h.newUser()
	for _, text := range []string{"saved", "sent"} {
		u.with(func(s *webapps.Session) {
			var list []string
			h.report(s.Update("flashes", &list, func() error { list = append(list, text); return nil }))
		})
	}
	var tabs sync.WaitGroup
	both := make([]string, 2)
	for tab := range both {
		tabs.Go(func() {
			u.with(func(s *webapps.Session) {
				var list, all []string
				h.report(s.Update("flashes", &list, func() error {
					all, list = list, nil
					return nil
				}))
				s.Remove("flashes")
				both[tab] = fmt.Sprint(all)
			})
		})
	}
	tabs.Wait()
	if !slices.Contains(both, "[saved sent]") || !slices.Contains(both, "[]") {
		h.t.Errorf("two tabs read %q", both)
	}
}

func absent(h *host) {
	u := h.newUser()
	for _, step := range []http.HandlerFunc{
		func(http.ResponseWriter, *http.Request) {},
		func(_ http.ResponseWriter, r *http.Request) {
			if s, ok := webapps.ExistingSession(r); ok || s != nil {
				h.t.Error("there is a session before it was asked for")
			}
		},
	} {
		if got := u.serve(step); got.Header["Set-Cookie"] != nil || u.cookie() != "" {
			h.t.Errorf("no session, and yet %q", got.Header["Set-Cookie"])
		}
	}
	got := u.serve(func(_ http.ResponseWriter, r *http.Request) {
		s := webapps.SessionOf(r)
		again, ok := webapps.ExistingSession(r)
		if !ok || again != s || webapps.SessionOf(r) != s || webapps.SessionOf(r.Clone(r.Context())) != s {
			h.t.Error("a request has two sessions")
		}
	})
	if set := got.Header["Set-Cookie"]; len(set) == 0 || u.cookie() == "" {
		h.t.Errorf("a new session sets %q", set)
	}
	before := u.cookie()
	got = u.serve(func(_ http.ResponseWriter, r *http.Request) {
		if _, ok := webapps.ExistingSession(r); !ok {
			h.t.Error("a session that was asked for isn't there")
		}
	})
	if set := got.Header["Set-Cookie"]; set != nil || u.cookie() != before {
		h.t.Errorf("nothing changed, and yet %q", set)
	}
}

func facts(h *host) {
	u, begun := h.newUser(), time.Now()
	var id string
	u.with(func(s *webapps.Session) {
		early, late := begun.Add(-time.Second), time.Now().Add(time.Second)
		if id = s.ID(); id == "" || !s.IsNew() || s.Created() != s.LastAccess() || s.Created().Before(early) || s.Created().After(late) {
			h.t.Errorf("id %q, new %v, created %v, last %v", id, s.IsNew(), s.Created(), s.LastAccess())
		}
		if s.MaxInactive() != 30*time.Minute || s.Principal() != "" {
			h.t.Errorf("lives %v, of %q", s.MaxInactive(), s.Principal())
		}
		s.SetMaxInactive(time.Hour)
		if s.MaxInactive() != time.Hour {
			h.t.Errorf("lives %v", s.MaxInactive())
		}
	})
	u.with(func(s *webapps.Session) {
		if s.ID() != id || s.IsNew() || s.LastAccess().Before(s.Created()) || s.MaxInactive() != time.Hour ||
			strings.Contains(u.cookie(), id) {
			h.t.Errorf(
				"id %s, was %s, new %v, created %v, last %v, lives %v", s.ID(), id, s.IsNew(),
				s.Created(), s.LastAccess(), s.MaxInactive(),
			)
		}
		s.SetMaxInactive(-1)
		if s.MaxInactive() != 0 {
			h.t.Errorf("lives %v", s.MaxInactive())
		}
	})
	u.with(func(s *webapps.Session) {
		if s.MaxInactive() != 0 {
			h.t.Errorf("lives %v", s.MaxInactive())
		}
	})
}

func login(h *host) {
	for _, do := range []func(*webapps.Session){
		func(s *webapps.Session) { h.report(s.ChangeID()) },
		func(s *webapps.Session) { _ = s.SetPrincipal("ann") },
	} {
		u := h.newUser()
		u.with(func(s *webapps.Session) {
			h.report(s.Set("v", "kept"))
			do(s) // nobody has seen the session yet
		})
		old, before := u.copy(), u.cookie()
		u.with(func(s *webapps.Session) {
			id, created := s.ID(), s.Created()
			do(s)
			h.report(s.Set("w", "new"))
			if v, _, err := webapps.Get[string](s, "v"); v != "kept" || err != nil || s.ID() == id || s.IsNew() || s.Created() != created {
				h.t.Errorf(
					"after it: %q %v, another id: %v, new: %v, created %v, was %v", v, err, s.ID() != id,
					s.IsNew(), s.Created(), created,
				)
			}
		})
		if u.cookie() == before || u.cookie() == "" {
			h.t.Errorf("the cookie is %q, was %q", u.cookie(), before)
		}
		u.shows("v", "kept")
		u.shows("w", "new")
		old.shows("v", "")
	}
	u := h.newUser()
	u.with(func(s *webapps.Session) {
		if err := s.SetPrincipal("ann"); err != nil || s.Principal() != "ann" {
			h.t.Errorf("a request doesn't see its login: %q", s.Principal())
		}
	})
	u.with(func(s *webapps.Session) {
		h.report(s.ChangeID())
		if s.Principal() != "ann" {
			h.t.Errorf("another id, and the user is %q", s.Principal())
		}
		if err := s.SetPrincipal(strings.Repeat("a", webapps.MaxPrincipalBytes+1)); !errors.Is(err, webapps.ErrTooLarge) {
			h.t.Errorf("a name over the limit: %v", err)
		}
		if s.Principal() != "ann" {
			h.t.Errorf("after a name over the limit the user is %q", s.Principal())
		}
		h.report(s.SetPrincipal(strings.Repeat("a", webapps.MaxPrincipalBytes)))
		h.report(s.SetPrincipal(""))
	})
	u.with(func(s *webapps.Session) {
		if s.Principal() != "" {
			h.t.Errorf("logged out, and the user is %q", s.Principal())
		}
	})
}

// meanwhile runs a request of the user that has found its session, until other has run.
func (u *user) meanwhile(other func(), step http.HandlerFunc) webappstest.Response {
	found, done := make(chan bool), make(chan bool)
	go func() {
		<-found
		other()
		close(done)
	}()
	return u.serve(func(w http.ResponseWriter, r *http.Request) {
		webapps.SessionOf(r)
		found <- true
		<-done
		step(w, r)
	})
}

// voids checks what is left of a session that another request has taken away.
func (h *host) voids(s *webapps.Session, why error) {
	h.t.Helper()
	_, read := s.Get("v", new(string))
	for what, err := range map[string]error{
		"read": read, "set": s.Set("x", 1), "commit": s.Commit(context.Background()),
		"update": s.Update("v", new(string), func() error { h.t.Error("changed"); return nil }),
	} {
		if !errors.Is(err, why) {
			h.t.Errorf("%s: %v, want %v", what, err, why)
		}
	}
	if len(s.Names()) != 0 {
		h.t.Errorf("it still has %v", s.Names())
	}
}

func slowerThanLogin(h *host) {
	for _, c := range []struct {
		status int
		step   http.HandlerFunc
	}{
		{http.StatusOK, func(http.ResponseWriter, *http.Request) {}}, // it only reads
		{http.StatusOK, func(_ http.ResponseWriter, r *http.Request) { h.voids(webapps.SessionOf(r), webapps.ErrIDChanged) }},
		{http.StatusConflict, func(_ http.ResponseWriter, r *http.Request) { h.report(webapps.SessionOf(r).ChangeID()) }},
		{http.StatusConflict, func(_ http.ResponseWriter, r *http.Request) { webapps.SessionOf(r).SetMaxInactive(time.Hour) }},
	} {
		u := h.newUser()
		u.begin()
		slow := u.copy()
		got := slow.meanwhile(func() { u.with(func(s *webapps.Session) { _ = s.SetPrincipal("ann") }) }, c.step)
		if u.want(c.status, got); got.Header["Set-Cookie"] != nil {
			h.t.Errorf("the slower one's cookie: %q", got.Header["Set-Cookie"])
		}
		u.shows("v", "1")
		slow.shows("v", "")
	}
}

func invalidate(h *host) {
	u := h.newUser()
	u.begin()
	old := u.copy()
	u.with(func(s *webapps.Session) {
		_ = s.SetPrincipal("ann")
		s.Invalidate()
		for what, err := range map[string]error{
			"set": s.Set("v", 1), "change id": s.ChangeID(), "update": s.Update("n", new(int), func() error { return nil }),
		} {
			if !errors.Is(err, webapps.ErrGone) || !strings.HasPrefix(err.Error(), "app contract: ") {
				h.t.Errorf("%s after Invalidate: %v", what, err)
			}
		}
		_ = s.SetPrincipal("nobody")
		s.SetMaxInactive(time.Hour)
		s.Remove("v")
		if v, found, err := webapps.Get[string](s, "v"); found || err != nil || len(s.Names()) > 0 || s.Principal() != "" {
			h.t.Errorf("an invalidated session holds %q %v of %q", v, err, s.Principal())
		}
	})
	if u.cookie() != "" {
		h.t.Error("the cookie outlives the session")
	}
	u.shows("v", "")
	old.shows("v", "")

	got := h.newUser().serve(func(_ http.ResponseWriter, r *http.Request) { webapps.SessionOf(r).Invalidate() })
	if got.Header["Set-Cookie"] != nil { // made and ended by one request: nobody has seen it
		h.t.Errorf("a session that never was sets %q", got.Header["Set-Cookie"])
	}

	u.begin()
	before := u.cookie()
	u.want(http.StatusOK, u.serve(func(_ http.ResponseWriter, r *http.Request) {
		first := webapps.SessionOf(r)
		first.Invalidate()
		if _, ok := webapps.ExistingSession(r); ok {
			h.t.Error("the invalidated session still exists")
		}
		s := webapps.SessionOf(r)
		if h.report(s.Set("v", "2")); s.ID() == first.ID() || !s.IsNew() {
			h.t.Error("no new session after Invalidate")
		}
	}))
	if u.shows("v", "2"); u.cookie() == before {
		h.t.Error("the new session has the old one's cookie")
	}
}

func slowerThanLogout(h *host) {
	for _, step := range []http.HandlerFunc{
		func(http.ResponseWriter, *http.Request) {},
		func(_ http.ResponseWriter, r *http.Request) { webapps.SessionOf(r).SetMaxInactive(time.Hour) }, // void, but no conflict
		func(_ http.ResponseWriter, r *http.Request) { h.voids(webapps.SessionOf(r), webapps.ErrGone) },
	} {
		u := h.newUser()
		u.begin()
		slow := u.copy()
		got := slow.meanwhile(func() { u.with(func(s *webapps.Session) { s.Invalidate() }) }, step)
		if u.want(http.StatusOK, got); got.Header["Set-Cookie"] != nil {
			h.t.Errorf("the slower one's cookie: %q", got.Header["Set-Cookie"])
		}
		slow.shows("v", "")
	}
}

// expiry waits for longer each time, since to ask is to use the session.
func expiry(h *host) {
	u := h.newUser()
	var id string
	u.with(func(s *webapps.Session) {
		id = s.ID()
		h.report(s.Set("v", "1"))
		s.SetMaxInactive(10 * time.Millisecond)
	})
	for wait := 20 * time.Millisecond; ; wait *= 2 {
		<-time.After(wait)
		there := true
		got := u.serve(func(_ http.ResponseWriter, r *http.Request) { _, there = webapps.ExistingSession(r) })
		if u.want(http.StatusOK, got); !there {
			break
		}
		if wait > 20*time.Second {
			h.t.Fatal("the session lives on")
		}
	}
	u.with(func(s *webapps.Session) {
		if s.ID() == id || !s.IsNew() || len(s.Names()) != 0 {
			h.t.Error("the session is back")
		}
	})
}
