package cart_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/server/servertest"
	"github.com/nodeserver/nodeserver/webapps/cart"
	"github.com/nodeserver/nodeserver/webapps/webappstest"
)

// The smallest test of an app: a user, what they do, what they see.
func TestAdd(t *testing.T) {
	u := webappstest.New(t, cart.Webapp())
	u.PostForm("/add", url.Values{"sku": {"tea"}})
	wants(t, u, "1 6.50 - test")
}

// And one on three nodes: log in on the first, kill it, go on.
func TestCartOutlivesItsNode(t *testing.T) {
	c := servertest.Start(t, 3, cart.Webapp())
	u := c.Visitor()
	u.PostForm("/add", url.Values{"sku": {"tea"}, "n": {"2"}})
	u.PostForm("/login", url.Values{"user": {"ann"}})
	wants(t, u, "2 13.00 ann n1")
	c.Kill(0)
	u.PostForm("/add", url.Values{"sku": {"cup"}})
	wants(t, u, "3 27.00 ann n2")
}

// browser is what both kinds of users can do.
type browser interface {
	Get(path string) webappstest.Response
	PostForm(path string, form url.Values) webappstest.Response
	Do(r *http.Request) webappstest.Response
}

// wants looks at the cart.
func wants(t *testing.T, u browser, line string) {
	t.Helper()
	if got := u.Get("/?format=text"); got.Status != http.StatusOK || got.Body != line+"\n" {
		t.Errorf("the cart is %d %q, want %q", got.Status, got.Body, line)
	}
}

// send asks for something as a program does: "METHOD PATH", answered in a line.
func send(t *testing.T, u browser, request string) webappstest.Response {
	t.Helper()
	method, path, _ := strings.Cut(request, " ")
	r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
	r.Header.Set("Accept", "text/plain")
	return u.Do(r)
}

// Each step's answer is the cart after it, or why it was refused.
func TestChanges(t *testing.T) {
	u := webappstest.New(t, cart.Webapp())
	for _, step := range []struct {
		request string
		status  int
		body    string
	}{
		{"GET /", 200, "0 0.00 - test"},
		{"POST /add?sku=tea", 200, "1 6.50 - test"},
		{"POST /add?sku=tea&n=3", 200, "4 26.00 - test"},
		{"POST /add?sku=cup", 200, "5 40.00 - test"},
		{"POST /add?sku=tea&n=-1", 200, "4 33.50 - test"},
		{"POST /remove?sku=cup", 200, "3 19.50 - test"},
		{"POST /remove?sku=cup", 200, "3 19.50 - test"},
		{"POST /login?user=ann", 200, "3 19.50 ann test"},
		{"PUT /items/pen?quantity=2", 200, "5 67.50 ann test"},
		{"PUT /items/pen?quantity=2", 200, "5 67.50 ann test"},
		{"PUT /items/pen?quantity=0", 200, "3 19.50 ann test"},
		{"POST /add?sku=tea&n=-99", 200, "0 0.00 ann test"},
		{"POST /add?sku=tea&n=99", 200, "99 643.50 ann test"},
		{"POST /add?sku=tea", 400, "100 of tea are too many: at most 99"},
		{"POST /add?sku=tea&n=100", 400, `n is "100": give a number from -99 to 99`},
		{"POST /add?sku=tea&n=x", 400, `n is "x": give a number from -99 to 99`},
		{"POST /add?sku=rope", 404, `no item "rope" is sold here`},
		{"PUT /items/rope?quantity=1", 404, `no item "rope" is sold here`},
		{"PUT /items/tea", 400, `quantity is "": give a number from 0 to 99`},
		{"POST /login?user=%20ann", 400, `user is " ann": give 1 to 32 of A-Z a-z 0-9 . _ -, a letter or digit first`},
		{"GET /add?sku=tea", 405, "Method Not Allowed"},
		{"GET /", 200, "99 643.50 ann test"},
		{"POST /logout", 200, "0 0.00 - test"},
		{"POST /logout", 200, "0 0.00 - test"},
	} {
		if got := send(t, u, step.request); got.Status != step.status || got.Body != step.body+"\n" {
			t.Errorf("%s: %d %q, want %d %q", step.request, got.Status, got.Body, step.status, step.body)
		}
	}
}

// Only what is worth keeping makes a session: neither a look nor nonsense does.
func TestLookingMakesNoSession(t *testing.T) {
	u := webappstest.New(t, cart.Webapp())
	for _, request := range []string{"GET /", "GET /static/style.css", "POST /logout", "POST /add?sku=rope", "POST /login?user=-"} {
		if send(t, u, request); u.Session() != nil {
			t.Errorf("%s made a session", request)
		}
	}
}

func TestLoginChangesTheID(t *testing.T) {
	u := webappstest.New(t, cart.Webapp())
	u.PostForm("/add", url.Values{"sku": {"tea"}})
	thief := u.Copy()
	wants(t, thief, "1 6.50 - test")
	u.PostForm("/login", url.Values{"user": {"ann"}})
	wants(t, u, "1 6.50 ann test")
	wants(t, thief, "0 0.00 - test")
}

// A browser gets a page that it may reload, and the page shows the cart.
func TestPage(t *testing.T) {
	u := webappstest.New(t, cart.Webapp())
	got := u.PostForm("/add", url.Values{"sku": {"lamp"}, "n": {"2"}})
	if got.Status != http.StatusSeeOther || got.Header.Get("Location") != "/cart/" {
		t.Errorf("a form answers %d to %q", got.Status, got.Header.Get("Location"))
	}
	u.PostForm("/login", url.Values{"user": {"ann"}})
	page := u.Get("/")
	if page.Header.Get("Content-Type") != "text/html; charset=utf-8" || page.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", page.Header)
	}
	for _, part := range []string{
		"Reading lamp", "<output>2</output>", "<b>97.00</b>", "<b>ann</b>", "<dd><b>test</b></dd>",
		"<dd>" + u.Session().ID()[:8] + "</dd>", "Your cart <span>2</span>", `action="logout"`,
	} {
		if !strings.Contains(page.Body, part) {
			t.Errorf("the page lacks %s:\n%s", part, page.Body)
		}
	}
	if strings.Contains(page.Body, u.Session().ID()) {
		t.Error("the page shows the whole key")
	}
}

// What a browser says comes from elsewhere is refused, be it from a sister site
// whose requests SameSite=Lax lets have the cookie.
func TestOtherSitesAreRefused(t *testing.T) {
	u := webappstest.New(t, cart.Webapp())
	for _, c := range []struct {
		header, value string
		status        int
	}{
		{"Sec-Fetch-Site", "cross-site", 403},
		{"Sec-Fetch-Site", "same-site", 403},
		{"Origin", "https://evil.example", 403},
		{"Origin", "null", 403},
		{"Sec-Fetch-Site", "same-origin", 303},
		{"Origin", "http://example.com", 303}, // the host that httptest asks for
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/add?sku=tea", nil)
		r.Header.Set(c.header, c.value)
		if got := u.Do(r); got.Status != c.status {
			t.Errorf("%s: %s answers %d, want %d", c.header, c.value, got.Status, c.status)
		}
	}
	wants(t, u, "2 13.00 - test")
}

// A quantity left by another version of the app is an error that the operator
// sees, not an empty cart.
func TestForeignValue(t *testing.T) {
	u := webappstest.New(t, cart.Webapp())
	u.PostForm("/add", url.Values{"sku": {"tea"}})
	s := u.Session()
	if err := s.Set("cart/tea", "many"); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, request := range []string{"GET /", "POST /add?sku=tea"} {
		if got := send(t, u, request); got.Status != 500 || got.Body != "the cart could not be used\n" {
			t.Errorf("%s: %d %q", request, got.Status, got.Body)
		}
	}
}
