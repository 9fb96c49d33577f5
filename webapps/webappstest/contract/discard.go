package contract

import (
	"errors"
	"net/http"

	"github.com/nodeserver/nodeserver/webapps"
)

// recovering is a middleware as chi, gin and gorilla have one.
func recovering(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				http.Error(w, "sorry", http.StatusInternalServerError)
			}
		}()
		next(w, r)
	}
}

func recovered(h *host) {
	u := h.newUser()
	u.begin()
	got := u.serve(recovering(func(_ http.ResponseWriter, r *http.Request) {
		s := webapps.SessionOf(r)
		h.report(s.Set("v", "2"))
		h.report(s.ChangeID())
		panic("on purpose")
	}))
	if u.want(http.StatusInternalServerError, got); got.Body != "sorry\n" || got.Header["Set-Cookie"] != nil {
		h.t.Errorf("the answer is %q, with the cookies %q", got.Body, got.Header["Set-Cookie"])
	}
	u.shows("v", "1")
	u.want(http.StatusInternalServerError, u.serve(recovering(func(_ http.ResponseWriter, r *http.Request) {
		s := webapps.SessionOf(r)
		h.report(s.Set("v", "3"))
		h.report(s.Commit(r.Context()))
		h.report(s.Set("v", "4"))
		var none []int
		none[len(r.URL.Path)]++ // a panic of the runtime's own
	})))
	u.shows("v", "3")
	got = h.newUser().serve(recovering(func(_ http.ResponseWriter, r *http.Request) {
		webapps.SessionOf(r)
		panic("on purpose")
	}))
	if u.want(http.StatusInternalServerError, got); got.Header["Set-Cookie"] != nil {
		h.t.Errorf("a session that was not made sets %q", got.Header["Set-Cookie"])
	}
}

// failed answers 5xx, and one panic of its own is long over.
func failed(h *host) {
	u := h.newUser()
	u.begin()
	u.want(http.StatusBadGateway, u.serve(func(w http.ResponseWriter, r *http.Request) {
		func() {
			defer func() { _ = recover() }()
			panic("on purpose")
		}()
		h.report(webapps.SessionOf(r).Set("v", "2"))
		http.Error(w, "elsewhere", http.StatusBadGateway)
	}))
	u.shows("v", "2")
}

func discard(h *host) {
	u := h.newUser()
	u.begin()
	refused := func(err error) {
		if !errors.Is(err, webapps.ErrDiscarded) {
			h.t.Errorf("a commit after Discard says %v", err)
		}
	}
	cookie := u.cookie()
	got := u.serve(func(w http.ResponseWriter, r *http.Request) {
		s := webapps.SessionOf(r)
		h.report(s.Set("v", "2"))
		h.report(s.Commit(r.Context()))
		h.report(s.Set("v", "3"))
		h.report(s.Update("n", new(int), func() error { return nil }))
		h.report(s.SetPrincipal("ann"))
		webapps.Discard(r)
		h.report(s.Set("w", "4"))
		refused(s.Commit(r.Context()))
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte("as the app wrote it"))
	})
	if u.want(http.StatusAccepted, got); got.Body != "as the app wrote it" || u.cookie() != cookie {
		h.t.Errorf("the answer is %q, with the cookies %q", got.Body, got.Header["Set-Cookie"])
	}
	u.shows("v", "2")
	u.shows("w", "")
	u.with(func(s *webapps.Session) { // its lock is free
		h.report(s.Update("n", new(int), func() error { return nil }))
	})
	discardLate(h, u)
	u.want(http.StatusOK, u.serve(func(_ http.ResponseWriter, r *http.Request) { // and does not end it
		webapps.SessionOf(r).Invalidate()
		webapps.Discard(r)
	}))
	u.shows("v", "5")
	got = h.newUser().serve(func(_ http.ResponseWriter, r *http.Request) {
		webapps.Discard(r)
		h.report(webapps.SessionOf(r).Set("v", "1"))
	})
	if u.want(http.StatusOK, got); got.Header["Set-Cookie"] != nil {
		h.t.Errorf("a session that was not made sets %q", got.Header["Set-Cookie"])
	}
}

// discardLate discards what came after a flush.
func discardLate(h *host, u *user) {
	u.want(http.StatusOK, u.serve(func(w http.ResponseWriter, r *http.Request) {
		s := webapps.SessionOf(r)
		h.report(s.Set("v", "5"))
		flushNow(h, w)
		h.report(s.Set("v", "6"))
		webapps.Discard(r)
	}))
	u.shows("v", "5")
}

// The recipe of docs/WEBAPPS.md: an attribute whose type has changed is read by the type that
// it had, and set anew.
func changedType(h *host) {
	type before struct{ Price string }
	type item struct{ Price int }
	u := h.newUser()
	u.with(func(s *webapps.Session) { h.report(s.Set("tea", before{"3"})); h.report(s.Set("ham", before{"4"})) })
	u.with(func(s *webapps.Session) {
		_, found, err := webapps.Get[item](s, "tea")
		if !found || err == nil || errors.Is(err, webapps.ErrGone) {
			h.t.Errorf("a value of another type: found %v, %v", found, err)
		}
		old, found, err := webapps.Get[before](s, "tea")
		if h.report(err); !found || old.Price != "3" {
			h.t.Errorf("by its old type: %v, %v", old, found)
		}
		if err := s.Update("tea", new(item), func() error { return nil }); err == nil {
			h.t.Error("Update has read a value of another type")
		}
		h.report(s.Set("tea", item{3}))
		s.Remove("ham")
	})
	u.with(func(s *webapps.Session) {
		tea, found, err := webapps.Get[item](s, "tea")
		if h.report(err); !found || tea.Price != 3 {
			h.t.Errorf("set anew: %v, %v", tea, found)
		}
		if _, found, err := webapps.Get[item](s, "ham"); found || err != nil {
			h.t.Errorf("removed: %v, %v", found, err)
		}
	})
}
