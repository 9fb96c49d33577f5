package webappstest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/webapps"
)

// NodeName is the name of the node that a Client's app runs on.
const NodeName = "test"

// cookieName is the session cookie's, as a node has it by default.
const cookieName = "NSESSIONID"

// Client is one user of an app. Make it with New.
type Client struct {
	t    testing.TB
	node *node
	jar  http.CookieJar
}

// Response is what the app answered.
type Response struct {
	Status int
	Header http.Header
	Body   string
}

// Option changes what New makes.
type Option func(*node)

// WithConfig sets what the app's Context.Config decodes: a struct or map that
// can be encoded as JSON, standing for the app's table in a conf file. Without
// it the config is empty.
func WithConfig(config any) Option { return func(n *node) { n.config = config } }

// New starts the app and returns its first user. The test fails if the app's
// New does. The app's Done closes when the test ends.
func New(tb testing.TB, app webapps.App, options ...Option) *Client {
	tb.Helper()
	n := newNode(tb, app)
	for _, o := range options {
		o(n)
	}
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

// Copy returns another browser with the cookies that this one has now: what
// somebody has who stole them.
func (c *Client) Copy() *Client {
	a := c.Another()
	site := site("")
	a.jar.SetCookies(site, c.jar.Cookies(site))
	return a
}

// Get asks for a path within the app: "/" is its first page.
func (c *Client) Get(path string) Response {
	c.t.Helper()
	return c.Do(httptest.NewRequestWithContext(c.t.Context(), http.MethodGet, path, nil))
}

// PostForm sends a form to a path within the app.
func (c *Client) PostForm(path string, form url.Values) Response {
	c.t.Helper()
	r := httptest.NewRequestWithContext(c.t.Context(), http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return c.Do(r)
}

// Do sends any request, made by httptest.NewRequest with a path within the app.
// Redirects are not followed.
func (c *Client) Do(r *http.Request) Response {
	c.t.Helper()
	site := site(r.Host)
	r = r.Clone(r.Context()) // the caller may send it again
	for _, k := range c.jar.Cookies(site) {
		r.AddCookie(k)
	}
	v := newVisit(c.node, r)
	w := httptest.NewRecorder()
	c.node.serve(w, r, v)
	res := w.Result()
	if v.private {
		keepPrivate(res.Header)
	}
	if k := v.cookie; k != nil {
		res.Header.Add("Set-Cookie", k.String())
	}
	c.jar.SetCookies(site, res.Cookies())
	body, _ := io.ReadAll(res.Body) // from memory
	return Response{Status: res.StatusCode, Header: res.Header, Body: string(body)}
}

// site is where cookies belong; httptest's requests are for example.com unless
// they say otherwise.
func site(host string) *url.URL {
	if host == "" {
		host = "example.com"
	}
	return &url.URL{Scheme: "http", Host: host, Path: "/"}
}

// Cookie is the value of the user's session cookie, or "". It changes with the
// session's id.
func (c *Client) Cookie() string {
	for _, k := range c.jar.Cookies(site("")) {
		if k.Name == cookieName {
			return k.Value
		}
	}
	return ""
}

// Session is the user's session as a request of theirs would see it now, or nil.
// Call its Commit to keep what a test writes.
func (c *Client) Session() *webapps.Session {
	if st := c.node.find(c.Cookie()); st != nil {
		return &c.node.session(st).public
	}
	return nil
}

// Expire ends the user's session as if they had not used it for too long. It
// reports whether they had one.
func (c *Client) Expire() bool {
	st := c.node.find(c.Cookie())
	return st != nil && c.node.end(st, webapps.Expired)
}

// testWriter sends the app's log to the test's.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(line []byte) (int, error) {
	w.t.Log(string(bytes.TrimRight(line, "\n")))
	return len(line), nil
}
