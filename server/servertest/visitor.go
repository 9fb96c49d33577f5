package servertest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"

	"github.com/nodeserver/nodeserver/webapps/webappstest"
)

// Visitor is one user with one browser, in front of the whole cluster or, made
// by At, of one node. Safe for concurrent use, as a browser with many tabs.
type Visitor struct {
	c    *Cluster
	jar  http.CookieJar
	only int // the node to ask; -1: as a balancer chooses
}

// Visitor returns a new user. His first request goes to node 0 or, if that is
// dead, to the next one that lives; the others to the node in their cookie, while
// that lives.
func (c *Cluster) Visitor() *Visitor {
	jar, _ := cookiejar.New(nil) // fails for bad options only
	return &Visitor{c: c, jar: jar, only: -1}
}

// At returns the same user with the same cookies, asking node i only: a tab that
// a balancer without affinity sends there.
func (u *Visitor) At(i int) *Visitor { return &Visitor{c: u.c, jar: u.jar, only: i} }

// Copy returns another browser with the cookies that this one has now: what
// somebody has who stole them.
func (u *Visitor) Copy() *Visitor {
	jar, _ := cookiejar.New(nil) // as above
	at := u.site()
	cookies := u.jar.Cookies(at)
	for _, k := range cookies {
		k.Path = at.Path // which a jar doesn't tell; else what a node sets would stand beside it
	}
	jar.SetCookies(at, cookies)
	return &Visitor{c: u.c, jar: jar, only: u.only}
}

// Get asks for a path within the app: "/" is its first page.
func (u *Visitor) Get(path string) webappstest.Response {
	return u.send(http.MethodGet, path, "", nil)
}

// PostForm sends a form to a path within the app.
func (u *Visitor) PostForm(path string, form url.Values) webappstest.Response {
	return u.send(http.MethodPost, path, "application/x-www-form-urlencoded", []byte(form.Encode()))
}

func (u *Visitor) send(method, path, kind string, body []byte) webappstest.Response {
	r, err := http.NewRequest(method, "http://app"+path, bytes.NewReader(body)) //nolint:noctx // ends with the node
	if err != nil {
		return refused(http.StatusBadRequest, err)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	return u.Do(r)
}

// Do sends any request for a path within the app, made by http.NewRequest or
// httptest.NewRequest; the host in it doesn't matter. Redirects are not
// followed. As from a balancer, the answer is 503 if no node could be
// reached, and 502 if one broke off; only a request without a body whose
// method may be repeated (GET, PUT, …) is sent to another node then.
func (u *Visitor) Do(r *http.Request) webappstest.Response {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return refused(http.StatusBadRequest, err)
		}
	}
	last := errors.New("none was asked")
	for _, n := range u.order() {
		res, err := u.ask(n, r, body)
		if err == nil {
			return res
		}
		last = fmt.Errorf("node %s: %w", n.cfg.Node.Name, err)
		var dial *net.OpError
		unsent := errors.As(err, &dial) && dial.Op == "dial"
		if !unsent && (len(body) > 0 || !repeatable(r.Method)) || r.Context().Err() != nil {
			return refused(http.StatusBadGateway, last)
		}
	}
	return refused(http.StatusServiceUnavailable, last)
}

func repeatable(method string) bool {
	return slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete}, method)
}

// refused is the answer of the balancer itself.
func refused(status int, why error) webappstest.Response {
	return webappstest.Response{Status: status, Header: http.Header{}, Body: "servertest: " + why.Error()}
}

// order is in which order to ask nodes.
func (u *Visitor) order() []*node {
	if u.only >= 0 {
		return u.c.nodes[u.only : u.only+1]
	}
	home := u.Home()
	list := slices.Clone(u.c.nodes)
	slices.SortStableFunc(list, func(a, b *node) int {
		return rank(a.cfg.Node.Name == home) - rank(b.cfg.Node.Name == home)
	})
	return list
}

func rank(home bool) int {
	if home {
		return 0
	}
	return 1
}

// Home is the name of the node that the user's cookie names, or "".
func (u *Visitor) Home() string {
	_, route, _ := strings.Cut(u.Cookie(), ".")
	return route
}

// Cookie is the value of the user's session cookie, or "". It changes with the
// session's id.
func (u *Visitor) Cookie() string {
	for _, k := range u.jar.Cookies(u.site()) {
		if k.Name == u.c.cookie {
			return k.Value
		}
	}
	return ""
}

// site is the app as the jar knows it: cookies don't care about ports.
func (u *Visitor) site() *url.URL {
	return &url.URL{Scheme: "http", Host: "127.0.0.1", Path: u.c.path + "/"}
}

// ask sends the request to one node.
func (u *Visitor) ask(n *node, r *http.Request, body []byte) (webappstest.Response, error) {
	to := r.Clone(r.Context())
	to.RequestURI = "" // httptest's; a client may not have it
	to.Host = ""
	to.URL.Scheme, to.URL.Host = "http", n.addr.http
	to.URL.Path = u.c.path + to.URL.Path
	if to.URL.RawPath != "" {
		to.URL.RawPath = u.c.path + to.URL.RawPath
	}
	to.Body, to.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if len(body) == 0 {
		to.Body = http.NoBody
	}
	browser := http.Client{
		Transport: oneShot.Transport, Jar: u.jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := browser.Do(to)
	if err != nil {
		return webappstest.Response{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return webappstest.Response{}, fmt.Errorf("read the answer: %w", err)
	}
	return webappstest.Response{Status: res.StatusCode, Header: res.Header, Body: string(text)}, nil
}
