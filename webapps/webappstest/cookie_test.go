package webappstest_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/webapps"
	"github.com/nodeserver/nodeserver/webapps/webappstest"
)

// does is an app whose paths do to the session what they say.
func does() webapps.App {
	mux := http.NewServeMux()
	do := func(path string, f func(s *webapps.Session)) {
		mux.HandleFunc(path, func(_ http.ResponseWriter, r *http.Request) { f(webapps.SessionOf(r)) })
	}
	do("/set", func(s *webapps.Session) { _ = s.Set("v", 1) })
	do("/remove", func(s *webapps.Session) { s.Remove("v"); s.Remove("none") })
	do("/id", func(s *webapps.Session) { _ = s.ChangeID() })
	do("/login", func(s *webapps.Session) { _ = s.SetPrincipal("ann") })
	do("/logout", func(s *webapps.Session) { s.Invalidate() })
	mux.HandleFunc("/flush", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		webapps.SessionOf(r)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if s, ok := webapps.ExistingSession(r); ok {
			fmt.Fprint(w, s.ID(), s.Names(), s.Principal())
		}
	})
	return webapps.App{Name: "a", New: func(webapps.Context) (http.Handler, error) { return mux, nil }}
}

func TestIDChangeKillsTheOldCookie(t *testing.T) {
	for _, path := range []string{"/id", "/login"} {
		u := webappstest.New(t, does())
		if u.Cookie() != "" || u.Get("/").Header["Set-Cookie"] != nil {
			t.Error("a request that touches no session gets a cookie")
		}
		u.Get("/set")
		old, id := u.Copy(), u.Session().ID()
		if old.Cookie() == "" || old.Cookie() != u.Cookie() || old.Session().ID() != id {
			t.Errorf("a copy has cookie %q, the user %q", old.Cookie(), u.Cookie())
		}
		if got := u.Get("/set").Header["Set-Cookie"]; got != nil {
			t.Errorf("nothing changed, and yet %q", got)
		}
		if got := u.Get(path).Header["Set-Cookie"]; len(got) != 1 || !strings.HasSuffix(got[0], ".test; Path=/; HttpOnly; SameSite=Lax") {
			t.Errorf("%s sets %q", path, got)
		}
		if old.Session() != nil || old.Get("/").Body != "" {
			t.Errorf("%s: the old cookie still works", path)
		}
		if got := u.Session().ID(); got == id || strings.Contains(u.Cookie(), got) {
			t.Errorf("%s: the key is %s, was %s; cookie %s", path, got, id, u.Cookie())
		}
	}
}

func TestLogoutTakesTheCookie(t *testing.T) {
	u := webappstest.New(t, does())
	u.Get("/set")
	if got := u.Get("/logout").Header["Set-Cookie"]; len(got) != 1 || !strings.Contains(got[0], "Max-Age=0") || u.Cookie() != "" {
		t.Errorf("%q leaves %q", got, u.Cookie())
	}
}

func TestExpire(t *testing.T) {
	u := webappstest.New(t, does())
	u.Get("/set")
	id := u.Session().ID()
	if !u.Expire() || u.Session() != nil || u.Expire() {
		t.Error("the session goes on, or expires twice")
	}
	if u.Get("/set"); u.Session() == nil || u.Session().ID() == id {
		t.Error("no new session after the old one has expired")
	}
}

// What would go wrong on a node only, and silently, is an error in a test.
func TestSessionAfterFlushIsSaid(t *testing.T) {
	r := &recorder{TB: t}
	u := webappstest.New(r, does())
	u.Get("/flush")
	if len(r.errors) != 1 || !strings.Contains(r.errors[0], "after the first Flush") {
		t.Errorf("said: %q", r.errors)
	}
	u.Get("/set")
	if u.Get("/flush"); len(r.errors) != 1 {
		t.Errorf("a session that was there before is no error: %q", r.errors)
	}
}

func TestSessionAfterTheHandlerIsSaid(t *testing.T) {
	var kept *http.Request
	r := &recorder{TB: t}
	u := webappstest.New(r, webapps.App{Name: "a", New: func(webapps.Context) (http.Handler, error) {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { webapps.SessionOf(r); kept = r }), nil
	}})
	u.Get("/")
	if err := webapps.SessionOf(kept).Set("n", 1); !errors.Is(err, webapps.ErrRequestOver) {
		t.Errorf("set after the handler: %v", err)
	}
	if len(r.errors) != 1 || !strings.Contains(r.errors[0], "after the handler had returned") {
		t.Errorf("said: %q", r.errors)
	}
	if _, ok := webapps.ExistingSession(kept); ok || len(u.Session().Names()) > 0 {
		t.Error("a session after the handler")
	}
}

// recorder is a test that keeps its errors to itself.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func TestConfig(t *testing.T) {
	type settings struct {
		Greeting string `json:"greeting"`
	}
	for _, c := range []struct {
		options []webappstest.Option
		want    string
	}{
		{nil, "{Greeting:} <nil>"},
		{[]webappstest.Option{webappstest.WithConfig(settings{"hello"})}, "{Greeting:hello} <nil>"},
		{
			[]webappstest.Option{webappstest.WithConfig(map[string]any{"gretting": "hello"})},
			`{Greeting:} settings of app a (webappstest.WithConfig): json: unknown field "gretting"`,
		},
	} {
		app := does()
		app.New = func(c webapps.Context) (http.Handler, error) {
			var s settings
			err := c.Config(&s)
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "%+v %v", s, err) }), nil
		}
		if got := webappstest.New(t, app, c.options...).Get("/").Body; got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestListenersHearOfExpire(t *testing.T) {
	var told []string
	app := does()
	inner := app.New
	app.New = func(c webapps.Context) (http.Handler, error) {
		c.(webapps.Events).Listen(webapps.Listener{Destroyed: func(e webapps.Event, why webapps.Reason) {
			v := 0
			found, err := e.Get("v", &v)
			told = append(told, fmt.Sprint(why, " v=", v, found, err))
		}})
		return inner(c)
	}
	u := webappstest.New(t, app)
	u.Get("/set")
	if u.Expire(); !slices.Equal(told, []string{"expired v=1 true <nil>"}) {
		t.Errorf("told %q", told)
	}
}

// A request may be sent twice.
func TestDoLeavesTheRequestAlone(t *testing.T) {
	u := webappstest.New(t, does())
	u.Get("/set")
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	first, second := u.Do(r), u.Do(r)
	if first.Body != second.Body || r.Header["Cookie"] != nil {
		t.Errorf("%q, then %q; left with %q", first.Body, second.Body, r.Header["Cookie"])
	}
}
