package webappstest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"

	"github.com/nodeserver/nodeserver/webapps"
)

// NodeName is the name of the node that a Client's app runs on.
const NodeName = "test"

// Client is one user of an app. Make it with New.
type Client struct {
	t       testing.TB
	node    *node
	jar     http.CookieJar
	mu      sync.Mutex
	session *state // nil before the app makes one
}

// Response is what the app answered.
type Response struct {
	Status int
	Header http.Header
	Body   string
}

// New starts the app, with an empty config, and returns its first user. The
// test fails if the app's New does. The app's Done closes when the test ends.
func New(tb testing.TB, app webapps.App) *Client {
	tb.Helper()
	n := &node{app: app, log: slog.New(slog.NewTextHandler(testWriter{tb}, nil)), done: make(chan struct{})}
	h, err := app.New(n)
	if err != nil {
		tb.Fatalf("start webapp %s: %v", app.Name, err)
	}
	n.handler = h
	tb.Cleanup(func() { close(n.done) })
	return (&Client{t: tb, node: n}).Another()
}

// Another returns another user of the same app on the same node.
func (c *Client) Another() *Client {
	jar, _ := cookiejar.New(nil) // fails for bad options only
	return &Client{t: c.t, node: c.node, jar: jar}
}

// Get asks for a path within the app: "/" is its first page.
func (c *Client) Get(path string) Response {
	c.t.Helper()
	return c.Do(httptest.NewRequestWithContext(c.t.Context(), http.MethodGet, path, nil))
}

// PostForm sends a form to a path within the app.
func (c *Client) PostForm(path string, form url.Values) Response {
	c.t.Helper()
	r := httptest.NewRequestWithContext(c.t.Context(), http.MethodPost, path, bytes.NewBufferString(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return c.Do(r)
}

// Do sends any request, made by httptest.NewRequest with a path within the app.
func (c *Client) Do(r *http.Request) Response {
	c.t.Helper()
	site := &url.URL{Scheme: "http", Host: r.Host, Path: "/"}
	for _, k := range c.jar.Cookies(site) {
		r.AddCookie(k)
	}
	v := &visit{client: c, start: c.current()}
	w := httptest.NewRecorder()
	c.node.serve(w, r.WithContext(webapps.WithSource(r.Context(), v)), v)
	res := w.Result()
	c.jar.SetCookies(site, res.Cookies())
	body, _ := io.ReadAll(res.Body) // from memory
	return Response{Status: res.StatusCode, Header: res.Header, Body: string(body)}
}

// Session is the user's session as a request of his would see it now, or nil.
// Call its Commit to keep what a test writes.
func (c *Client) Session() webapps.Session {
	if st := c.current(); st != nil {
		return c.node.session(st, false)
	}
	return nil
}

func (c *Client) current() *state {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != nil && c.session.isDead() {
		c.session = nil
	}
	return c.session
}

// keep makes the session the user's, unless a request of his that ran at the
// same time came first: a browser, too, keeps one cookie.
func (c *Client) keep(st *state) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = st
}

// node is the webapps.Context of the app.
type node struct {
	app     webapps.App
	handler http.Handler
	log     *slog.Logger
	done    chan struct{}

	mu       sync.Mutex
	sessions []*state
}

var (
	_ webapps.Context  = (*node)(nil)
	_ webapps.Sessions = (*node)(nil)
)

func (n *node) Name() string { return n.app.Name }

func (n *node) Path() string {
	if n.app.Name == "root" {
		return "/"
	}
	return "/" + n.app.Name + "/"
}

func (n *node) Node() string          { return NodeName }
func (n *node) Logger() *slog.Logger  { return n.log }
func (n *node) Done() <-chan struct{} { return n.done }

func (n *node) Config(into any) error { return json.Unmarshal([]byte("{}"), into) }

// SessionCount implements webapps.Sessions.
func (n *node) SessionCount() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	alive := 0
	for _, st := range n.sessions {
		if !st.isDead() {
			alive++
		}
	}
	return alive
}

// NewSession implements webapps.Sessions.
func (n *node) NewSession() (webapps.Session, error) {
	s := n.session(newState(), true)
	s.onCommit = n.add
	return s, nil
}

func (n *node) add(st *state) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sessions = append(n.sessions, st)
}

// serve runs the handler and commits, or answers a panic as a node does.
func (n *node) serve(w *httptest.ResponseRecorder, r *http.Request, v *visit) {
	defer v.release()
	defer func() {
		if p := recover(); p != nil {
			n.log.Error("handler panicked", "app", n.app.Name, "panic", p)
			*w = *httptest.NewRecorder()
			http.Error(w, "internal error", http.StatusInternalServerError)
		}
	}()
	n.handler.ServeHTTP(w, r)
	v.commit(r.Context())
}

// visit is the session source of one request.
type visit struct {
	client  *Client
	start   *state // the user's session when the request came, or nil
	mu      sync.Mutex
	session *session   // nil until asked for
	ended   []*session // those the handler invalidated before
}

// Session implements webapps.Source. After Invalidate there is none until one
// is created anew.
func (v *visit) Session(create bool) (webapps.Session, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.session != nil && v.session.ended() {
		v.ended, v.session, v.start = append(v.ended, v.session), nil, nil
	}
	if v.session == nil && v.start != nil && !v.start.isDead() {
		v.session = v.client.node.session(v.start, false)
	}
	if v.session == nil && create {
		v.session = v.client.node.session(newState(), true)
		v.session.onCommit = func(st *state) {
			v.client.node.add(st)
			v.client.keep(st)
		}
	}
	if v.session == nil {
		return nil, false
	}
	return v.session, true
}

func (v *visit) all() []*session {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.session == nil {
		return v.ended
	}
	return append(slices.Clip(v.ended), v.session)
}

func (v *visit) commit(ctx context.Context) {
	for _, s := range v.all() {
		_ = s.Commit(context.WithoutCancel(ctx)) // only a context could fail it
	}
}

func (v *visit) release() {
	for _, s := range v.all() {
		s.release()
	}
}

// testWriter sends the app's log to the test's.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(line []byte) (int, error) {
	w.t.Log(string(bytes.TrimRight(line, "\n")))
	return len(line), nil
}
