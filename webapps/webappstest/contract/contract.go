package contract

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nodeserver/nodeserver/webapps"
	"github.com/nodeserver/nodeserver/webapps/webappstest"
)

// User is one user with one browser, as webappstest.Client and servertest.Visitor are.
type User[U any] interface {
	// Do sends a request with a path within the app.
	Do(r *http.Request) webappstest.Response
	// Copy is another browser with the same cookies.
	Copy() U
	// Cookie is the value of the session cookie, or "".
	Cookie() string
}

// Run starts the app on a host and checks all behaviours there. Start returns what makes
// a new user of the app.
func Run[U User[U]](t *testing.T, start func(testing.TB, webapps.App) func() U) {
	t.Helper()
	h := &host{steps: map[string]http.HandlerFunc{}}
	newUser := start(t, webapps.App{Name: "contract", New: h.new})
	h.newUser = func() *user { return wrap(h, newUser()) }
	for _, b := range behaviours {
		t.Run(b.name, func(t *testing.T) {
			h.begin(t)
			b.check(h)
		})
	}
}

var behaviours = []struct {
	name  string
	check func(*host)
}{
	{"values come back", valuesComeBack},
	{"values that don't fit are errors", valuesThatDoNotFit},
	{"values that are refused change nothing", valuesRefused},
	{"values are copies", valuesAreCopies},
	{"names", names},
	{"a session has a size", size},
	{"a session has so many attributes", attributes},
	{"a write that came meanwhile counts for the limit", sizeAtCommit},
	{"update", update},
	{"updates add up", updatesAddUp},
	{"update and its lock", updateLock},
	{"a flash is read once", flash},
	{"a session is there when it is asked for", absent},
	{"a session tells about itself", facts},
	{"a login gives another id", login},
	{"a slower request after a login", slowerThanLogin},
	{"invalidate", invalidate},
	{"a slower request after a logout", slowerThanLogout},
	{"unused sessions expire", expiry},
	{"a panic discards writes", panics},
	{"a panic that the app recovers discards writes", recovered},
	{"an error that is no panic discards nothing", failed},
	{"discard", discard},
	{"a type that has changed", changedType},
	{"commit", commit},
	{"a flush commits", flush},
	{"a flush that can't commit", flushRefused},
	{"ack levels", acks},
	{"caches", caches},
	{"listeners", listeners},
	{"tools", tools},
	{"users see and end their sessions", ofUser},
}

// host is the app that runs: what a request does is registered when it is sent.
type host struct {
	newUser func() *user
	all     webapps.Sessions
	users   webapps.Users

	mu     sync.Mutex
	t      *testing.T // of the behaviour that is being checked
	steps  map[string]http.HandlerFunc
	events []string
}

func (h *host) begin(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.t, h.events = t, nil
}

func (h *host) new(c webapps.Context) (http.Handler, error) {
	sessions, counts := c.(webapps.Sessions)
	events, tells := c.(webapps.Events)
	users, knows := c.(webapps.Users)
	if !counts || !tells || !knows {
		return nil, fmt.Errorf("the context has Sessions: %v, Events: %v, Users: %v", counts, tells, knows)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil { // of several nodes, the first
		h.all, h.users = sessions, users
		events.Listen(h.listener())
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		step := h.steps[strings.TrimPrefix(r.URL.Path, "/")]
		h.mu.Unlock()
		step(w, r)
	}), nil
}

// user is a browser whose requests run functions.
type user struct {
	host   *host
	do     func(*http.Request) webappstest.Response
	cookie func() string
	copy   func() *user
}

func wrap[U User[U]](h *host, u U) *user {
	return &user{h, u.Do, u.Cookie, func() *user { return wrap(h, u.Copy()) }}
}

// serve sends a request that runs the function.
func (u *user) serve(step http.HandlerFunc) webappstest.Response {
	h := u.host
	h.mu.Lock()
	path := strconv.Itoa(len(h.steps))
	h.steps[path] = step
	h.mu.Unlock()
	return u.do(httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/"+path, http.NoBody))
}

// with sends a request that runs the function on the user's session, which is made if
// there is none.
func (u *user) with(step func(s *webapps.Session)) {
	u.host.t.Helper()
	u.want(http.StatusOK, u.serve(func(_ http.ResponseWriter, r *http.Request) { step(webapps.SessionOf(r)) }))
}

func (u *user) want(status int, got webappstest.Response) {
	u.host.t.Helper()
	if got.Status != status {
		u.host.t.Errorf("status %d, want %d: %s", got.Status, status, got.Body)
	}
}

// begin sends a request that makes a session, whose v is 1.
func (u *user) begin() {
	u.host.t.Helper()
	u.with(func(s *webapps.Session) { u.host.report(s.Set("v", "1")) })
}

// shows checks what the user's next request sees of an attribute; "": there is none.
func (u *user) shows(name, want string) {
	u.host.t.Helper()
	got := u.serve(func(w http.ResponseWriter, r *http.Request) {
		if s, ok := webapps.ExistingSession(r); ok {
			v, _, err := webapps.Get[string](s, name)
			u.host.report(err)
			_, _ = io.WriteString(w, v)
		}
	})
	if got.Body != want {
		u.host.t.Errorf("%s is %q, want %q", name, got.Body, want)
	}
}

// report makes an error of a handler one of the test.
func (h *host) report(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Error(err)
	}
}

// is checks an error's text.
func (h *host) is(err error, want string) {
	h.t.Helper()
	if err == nil || err.Error() != want {
		h.t.Errorf("got  %v\nwant %s", err, want)
	}
}
