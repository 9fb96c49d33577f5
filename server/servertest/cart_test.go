package servertest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/nodeserver/nodeserver/server/servertest"
	"github.com/nodeserver/nodeserver/webapps"
	"github.com/nodeserver/nodeserver/webapps/cart"
)

// rounds is how often a race is run; each is over in milliseconds.
const rounds = 20

func post(t *testing.T, u *servertest.Visitor, path, field, value string) {
	t.Helper()
	if got := u.PostForm(path, url.Values{field: {value}}); got.Status != http.StatusSeeOther {
		t.Errorf("%s %s=%s: %d %q", path, field, value, got.Status, got.Body)
	}
}

// wantAll looks at the cart on every node: what is there, and whose it is.
func wantAll(t *testing.T, u *servertest.Visitor, what string) {
	t.Helper()
	for i := range 3 {
		want(t, u.At(i), text, fmt.Sprintf("%s n%d\n", what, i+1))
	}
}

// together runs all at once and returns when the last is done.
func together(all ...func()) {
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for _, f := range all {
		wg.Go(func() { <-begin; f() })
	}
	close(begin)
	wg.Wait()
}

// One user, each step on another node.
func TestEachStepOnAnotherNode(t *testing.T) {
	t.Parallel()
	c := servertest.Start(t, 3, cart.Webapp())
	u := c.Visitor()
	post(t, u.At(0), "/add", "sku", "tea")
	wantAll(t, u, "1 6.50 -")
	before := u.Copy()
	post(t, u.At(1), "/login", "user", "ann")
	wantAll(t, u, "1 6.50 ann")
	wantAll(t, before, "0 0.00 -")
	post(t, u.At(2), "/add", "sku", "cup")
	other := u.Copy() // another browser, say, to which the user has moved their cookies
	post(t, other.At(2), "/logout", "", "")
	if other.Cookie() != "" {
		t.Error("the cookie outlives the logout")
	}
	wantAll(t, other, "0 0.00 -")
	wantAll(t, u, "0 0.00 -")
}

// When the answer to a login is out, the old cookie is dead everywhere.
func TestLoginKillsTheOldCookieAtOnce(t *testing.T) {
	t.Parallel()
	c := servertest.Start(t, 3, cart.Webapp())
	for n := range rounds {
		u := c.Visitor()
		post(t, u.At(n%3), "/add", "sku", "tea")
		old := u.Copy()
		post(t, u.At((n+1)%3), "/login", "user", "ann")
		wantAll(t, old, "0 0.00 -")
		wantAll(t, u, "1 6.50 ann")
	}
}

// Two tabs, two nodes, two items: both stay.
func TestTwoTabsKeepBoth(t *testing.T) {
	t.Parallel()
	c := servertest.Start(t, 3, cart.Webapp())
	for n := range rounds {
		u := c.Visitor()
		post(t, u, "/add", "sku", "tea")
		together(
			func() { post(t, u.At(n%3), "/add", "sku", "cup") },
			func() { post(t, u.At((n+1)%3), "/add", "sku", "book") },
		)
		wantAll(t, u, "3 30.30 -")
	}
}

// Two tabs on one node add up, even for one item.
func TestTwoTabsOnOneNodeAddUp(t *testing.T) {
	t.Parallel()
	c := servertest.Start(t, 3, cart.Webapp())
	u := c.Visitor()
	post(t, u, "/add", "sku", "tea")
	for range rounds {
		together(
			func() { post(t, u.At(1), "/add", "sku", "tea") },
			func() { post(t, u.At(1), "/add", "sku", "tea") },
		)
	}
	wantAll(t, u, "41 266.50 -")
}

// Two nodes set the same item: one of the two wins, everywhere the same.
func TestSameItemHasOneWinner(t *testing.T) {
	t.Parallel()
	c := servertest.Start(t, 3, cart.Webapp())
	for n := range rounds {
		u := c.Visitor()
		post(t, u, "/add", "sku", "tea")
		set := func(i int, quantity string) func() {
			return func() {
				r := httptest.NewRequest(http.MethodPut, "/items/tea?quantity="+quantity, nil)
				if got := u.At(i).Do(r); got.Status != http.StatusSeeOther {
					t.Errorf("put: %d %q", got.Status, got.Body)
				}
			}
		}
		together(set(n%3, "2"), set((n+2)%3, "4"))
		var winner string
		c.Eventually("one quantity on all nodes", func() bool {
			var seen [3]string
			for i := range seen {
				var node string
				body := u.At(i).Get(text).Body
				if _, err := fmt.Sscan(body, &seen[i], new(string), new(string), &node); err != nil {
					t.Fatalf("answer %q: %v", body, err)
				}
			}
			winner = seen[0]
			return seen[1] == winner && seen[2] == winner
		})
		if winner != "2" && winner != "4" {
			t.Errorf("round %d: %s won, which nobody has set", n, winner)
		}
	}
}

// gate holds requests with the header Slow after they have found their session.
type gate struct{ reached, open chan struct{} }

func (g gate) around(app webapps.App) webapps.App {
	inner := app.New
	app.New = func(c webapps.Context) (http.Handler, error) {
		h, err := inner(c)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Slow") != "" {
				webapps.ExistingSession(r)
				g.reached <- struct{}{}
				<-g.open
			}
			h.ServeHTTP(w, r)
		}), err
	}
	return app
}

// A request that has found its session goes on after the user has logged out
// on another node: it brings nothing back, anywhere, and the user stays logged out.
func TestLogoutBeatsASlowerRequest(t *testing.T) {
	t.Parallel()
	g := gate{make(chan struct{}), make(chan struct{})}
	c := servertest.Start(t, 3, g.around(cart.Webapp()))
	for n := range rounds {
		u := c.Visitor()
		post(t, u, "/add", "sku", "tea")
		post(t, u, "/login", "user", "ann")
		tab := u.Copy() // sends the same cookie, keeps what it gets for itself
		old := u.Copy()
		together(
			func() {
				r := httptest.NewRequest(http.MethodPost, "/add?sku=lamp", nil)
				r.Header.Set("Slow", "1")
				tab.At(n % 3).Do(r)
			},
			func() {
				<-g.reached
				post(t, u.At((n+1)%3), "/logout", "", "")
				g.open <- struct{}{}
			},
		)
		wantAll(t, old, "0 0.00 -")
		wantAll(t, u, "0 0.00 -")
		for i := range 3 { // whatever the slow request was told, it isn't ann's session
			if got := tab.At(i).Get(text).Body; got != fmt.Sprintf("0 0.00 - n%d\n", i+1) {
				t.Errorf("round %d: the slow tab sees %q", n, got)
			}
		}
	}
}

// The same for a login: a slower request that came with the old cookie must not
// take the new one away, nor keep the old one alive.
func TestLoginBeatsASlowerRequest(t *testing.T) {
	t.Parallel()
	g := gate{make(chan struct{}), make(chan struct{})}
	c := servertest.Start(t, 3, g.around(cart.Webapp()))
	for n := range rounds {
		u := c.Visitor()
		post(t, u, "/add", "sku", "tea")
		old := u.Copy()
		together(
			func() {
				r := httptest.NewRequest(http.MethodPost, "/add?sku=lamp", nil)
				r.Header.Set("Slow", "1")
				if got := u.At(n % 3).Do(r); got.Status != http.StatusConflict || !strings.Contains(got.Body, "send it again") {
					t.Errorf("round %d: the slower request: %d %s", n, got.Status, got.Body)
				}
			},
			func() {
				<-g.reached
				post(t, u.At((n+1)%3), "/login", "user", "ann")
				g.open <- struct{}{}
			},
		)
		wantAll(t, old, "0 0.00 -")
		wantAll(t, u, "1 6.50 ann") // the slow request came with the old cookie: it is told so, and nothing of it is there
	}
}
