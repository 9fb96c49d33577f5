package contract

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/nodeserver/nodeserver/webapps"
)

func panics(h *host) {
	u := h.newUser()
	u.begin()
	old := u.copy()
	u.want(http.StatusInternalServerError, u.serve(func(_ http.ResponseWriter, r *http.Request) {
		s := webapps.SessionOf(r)
		h.report(s.Set("v", "2"))
		h.report(s.ChangeID())
		panic("on purpose")
	}))
	u.shows("v", "1")

	u.want(http.StatusInternalServerError, u.serve(func(_ http.ResponseWriter, r *http.Request) {
		s := webapps.SessionOf(r)
		s.Invalidate()
		panic("on purpose")
	}))
	u.shows("v", "1")

	u.want(http.StatusInternalServerError, u.serve(func(_ http.ResponseWriter, r *http.Request) {
		s := webapps.SessionOf(r)
		h.report(s.Set("v", "3"))
		_ = s.SetPrincipal("ann")
		h.report(s.Commit(r.Context()))
		h.report(s.Set("v", "4"))
		panic("on purpose")
	}))
	u.shows("v", "3") // by the new cookie, which came with the 500
	old.shows("v", "")

	got := h.newUser().serve(func(_ http.ResponseWriter, r *http.Request) { webapps.SessionOf(r); panic("on purpose") })
	if u.want(http.StatusInternalServerError, got); got.Header["Set-Cookie"] != nil {
		h.t.Errorf("a session that was not made sets %q", got.Header["Set-Cookie"])
	}
}

func commit(h *host) {
	u := h.newUser()
	u.with(func(s *webapps.Session) {
		h.report(s.Set("v", "1"))
		h.report(s.Commit(context.Background()))
		if !s.IsNew() {
			h.t.Error("a request that has made a session forgets it")
		}
	})
	u.with(func(s *webapps.Session) {
		h.report(s.Set("v", "2"))
		u.copy().shows("v", "1")
		over, cancel := context.WithCancel(context.Background())
		cancel()
		h.report(s.Commit(over)) // bounds the wait for other nodes, of which there is none here
		u.copy().shows("v", "2")
		h.report(s.Set("v", "3"))
		h.report(s.Commit(context.Background()))
		h.report(s.Commit(context.Background()))
		u.copy().shows("v", "3")
		h.report(s.Set("v", "4"))
	})
	u.shows("v", "4")
}

func flushNow(h *host, w http.ResponseWriter) {
	h.t.Helper()
	h.report(http.NewResponseController(w).Flush())
}

func flush(h *host) {
	u := h.newUser()
	got := u.serve(func(w http.ResponseWriter, r *http.Request) {
		s := webapps.SessionOf(r)
		h.report(s.Set("v", "1"))
		_, _ = io.WriteString(w, "begun, ")
		flushNow(h, w)
		h.report(s.Set("w", "2"))
		_, _ = io.WriteString(w, "ended")
	})
	if u.want(http.StatusOK, got); got.Body != "begun, ended" {
		h.t.Errorf("the answer is %q", got.Body)
	}
	u.shows("v", "1")
	u.shows("w", "2")
}

func flushRefused(h *host) {
	u := h.newUser()
	u.begin()
	slow := u.copy()
	login := func() { u.with(func(s *webapps.Session) { _ = s.SetPrincipal("ann") }) }
	got := slow.meanwhile(login, func(w http.ResponseWriter, r *http.Request) {
		webapps.SessionOf(r).SetMaxInactive(1)
		_, _ = io.WriteString(w, "begun")
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, "ended")
	})
	if u.want(http.StatusConflict, got); strings.Contains(got.Body, "begun") || strings.Contains(got.Body, "ended") {
		h.t.Errorf("the answer is %q", got.Body)
	}
}

func acks(h *host) {
	u := h.newUser()
	u.with(func(s *webapps.Session) {
		for level := webapps.AcksAsync; level <= webapps.AcksAll; level++ {
			s.Acks(level)
		}
		s.Acks(webapps.AcksAsync)
		h.report(s.Set("v", "1"))
	})
	u.shows("v", "1")
	for _, none := range []webapps.Acks{0, webapps.AcksAll + 1} {
		got := u.serve(func(_ http.ResponseWriter, r *http.Request) { webapps.SessionOf(r).Acks(none) })
		u.want(http.StatusInternalServerError, got)
	}
}

// caches are told whose the answer is.
func caches(h *host) {
	u := h.newUser()
	looks := func(r *http.Request) { webapps.ExistingSession(r) }
	for _, c := range []struct {
		vary, control string
		asks          func(*http.Request)
		want          string
	}{
		{"", "", func(*http.Request) {}, "[] []"},
		{"", "", looks, "[Cookie] [private]"},
		{"Accept, cookie", "no-cache", looks, "[Accept, cookie] [no-cache]"},
		{"Accept", "public", looks, "[Accept Cookie] [public]"},
	} {
		head := u.serve(func(w http.ResponseWriter, r *http.Request) {
			for name, value := range map[string]string{"Vary": c.vary, "Cache-Control": c.control} {
				if value != "" {
					w.Header().Set(name, value)
				}
			}
			c.asks(r)
		}).Header
		if got := fmt.Sprint(head["Vary"], " ", head["Cache-Control"]); got != c.want {
			h.t.Errorf("Vary %q, Cache-Control %q: got %s, want %s", c.vary, c.control, got, c.want)
		}
	}
}

// listener notes what it is told.
func (h *host) listener() webapps.Listener {
	say := func(what string, e webapps.Event) {
		v, missing := "", ""
		found, err := e.Get("v", &v)
		none, wrong := e.Get("v", new(int))
		_, bad := e.Get("", new(int))
		const misfit = `app contract: read attribute "v": the stored string doesn't fit a int`
		told := !found || wrong != nil && wrong.Error() == misfit
		if found != none || !told || bad == nil || e.Remote || e.ID == "" {
			missing = fmt.Sprintf(" (%v %v %v, remote %v, id %q)", none, wrong, bad, e.Remote, e.ID)
		}
		if err != nil {
			missing += err.Error()
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.events = append(h.events, what+" v="+v+missing)
	}
	return webapps.Listener{
		Created:          func(e webapps.Event) { say("created", e) },
		Destroyed:        func(e webapps.Event, why webapps.Reason) { say(string(why), e) },
		AttributeChanged: func(e webapps.Event, name string) { say(name+" changed", e) },
		IDChanged:        func(e webapps.Event) { say("id changed", e); panic("logged, no more") },
	}
}

func (h *host) told() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	told := h.events
	h.events = nil
	return told
}

func listeners(h *host) {
	u := h.newUser()
	for _, c := range []struct {
		step func(*webapps.Session)
		want string
	}{
		{func(s *webapps.Session) { h.report(s.Set("v", "1")) }, "created v=1, v changed v=1"},
		{func(s *webapps.Session) { _ = s.Names() }, ""},
		{func(s *webapps.Session) { _ = s.SetPrincipal("ann") }, "id changed v=1"},
		{func(s *webapps.Session) { h.report(s.ChangeID()); h.report(s.Set("v", "2")) }, "id changed v=2, v changed v=2"},
		{func(s *webapps.Session) { s.Remove("v"); s.Remove("none") }, "v changed v="},
		{func(s *webapps.Session) { s.SetMaxInactive(1 << 40) }, ""},
		{func(s *webapps.Session) { h.report(s.Set("v", "3")); h.report(s.Set("v", "4")) }, "v changed v=4"},
		{func(s *webapps.Session) { h.report(s.Set("w", 1)); s.Remove("w") }, "w changed v=4"},
		{func(s *webapps.Session) { h.report(s.Set("v", "5")); s.Invalidate() }, "invalidated v=4"},
		{func(s *webapps.Session) { s.Invalidate() }, ""}, // made and ended by one request: nobody has seen it
	} {
		u.with(c.step)
		if got := strings.Join(h.told(), ", "); got != c.want {
			h.t.Errorf("told %q, want %q", got, c.want)
		}
	}
}

// tools make sessions without a request.
func tools(h *host) {
	before := h.all.SessionCount()
	s, err := h.all.NewSession()
	if err != nil {
		h.t.Fatal(err)
	}
	h.report(s.Set("v", "1"))
	if n := h.all.SessionCount(); n != before || !s.IsNew() {
		h.t.Errorf("%d sessions before the commit, were %d", n, before)
	}
	h.report(s.Commit(context.Background()))
	if n := h.all.SessionCount(); n != before+1 {
		h.t.Errorf("%d sessions after the commit, were %d", n, before)
	}
	h.report(s.Update("v", new(string), func() error { return nil }))
	_ = s.SetPrincipal("ann")
	h.report(s.Commit(context.Background()))
	if v, _, err := webapps.Get[string](s, "v"); v != "1" || err != nil || s.Principal() != "ann" ||
		!slices.Equal(s.Names(), []string{"v"}) {
		h.t.Errorf("%q %v %q %v", v, err, s.Principal(), s.Names())
	}
	s.Invalidate()
	h.report(s.Commit(context.Background()))
	if n := h.all.SessionCount(); n != before {
		h.t.Errorf("%d sessions at the end, were %d", n, before)
	}
}

// ofUser has a user log in with two browsers, and end one of the two sessions from the other.
func ofUser(h *host) {
	here, there, other := h.newUser(), h.newUser(), h.newUser()
	login := func(u *user, as, with string) (id string) {
		u.with(func(s *webapps.Session) {
			h.report(s.Set("v", with))
			h.report(s.SetPrincipal(as))
			id = s.ID()
		})
		return id
	}
	first, second, stranger := login(here, "eve", "laptop"), login(there, "eve", "phone"), login(other, "eva", "x")
	list := h.users.SessionsOf("eve")
	with := map[string]string{}
	for _, s := range list {
		var v string
		found, err := s.Get("v", &v)
		none, bad := s.Get("none", new(string))
		if !found || err != nil || none || bad != nil || s.Created.IsZero() || s.LastAccess.Before(s.Created) {
			h.t.Errorf("%+v: %v %v, %v %v", s, found, err, none, bad)
		}
		with[s.ID] = v
	}
	if len(list) != 2 || with[first] != "laptop" || with[second] != "phone" || len(h.users.SessionsOf("")) != 0 {
		h.t.Errorf("sessions of eve: %v, want %s and %s", with, first, second)
	}
	end := func(principal, id string, want bool) {
		h.t.Helper()
		if ended, err := h.users.EndSession(context.Background(), principal, id); ended != want || err != nil {
			h.t.Errorf("end %s of %q: %v %v, want %v", id, principal, ended, err, want)
		}
	}
	for _, wrong := range [][2]string{
		{"eve", stranger}, {"", first}, {"", ""}, {"eve", ""}, {"eve", "x"}, {"eve", first[:8]}, {"ev", first},
	} {
		end(wrong[0], wrong[1], false)
	}
	end("eve", second, true)
	end("eve", second, false)
	there.shows("v", "")
	here.shows("v", "laptop")
	other.shows("v", "x")
}
