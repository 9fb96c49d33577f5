package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/webapps"
)

// wire is one connection to a node, kept open as a proxy does.
type wire struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func dialNode(t *testing.T, n *node) *wire {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return &wire{t, c, bufio.NewReader(c)}
}

// get asks, with the cookie if there is one, and returns the answer's body and
// the session cookie that it sets.
func (w *wire) get(path, cookie string) (body, set string) {
	w.t.Helper()
	if cookie != "" {
		cookie = "Cookie: NSESSIONID=" + cookie + "\r\n"
	}
	_, _ = fmt.Fprintf(w.c, "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", path, cookie)
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return string(b), cookieOf(w.t, resp.Header)
}

// Requests that a client sends without waiting for answers are still one after
// the other.
func TestPipelinedRequestsAreApart(t *testing.T) {
	t.Parallel()
	n := alone(t, func(w http.ResponseWriter, r *http.Request) {
		s := webapps.SessionOf(r)
		had, _, err := webapps.Get[string](s, "user")
		report(t, errors.Join(err, s.Set("user", r.FormValue("user"))))
		fmt.Fprint(w, had, s.IsNew())
	})
	c := dialNode(t, n)
	_, ann := c.get("/test/?user=ann", "")
	_, bob := c.get("/test/?user=bob", "")
	want := map[string]string{"ann": "annfalse", "bob": "bobfalse", "new": "true"}
	order := []string{"ann", "bob", "new", "bob", "ann", "new"}
	var all strings.Builder
	for _, who := range order {
		fmt.Fprintf(
			&all, "GET /test/?user=%s HTTP/1.1\r\nHost: x\r\nCookie: NSESSIONID=%s\r\n\r\n", who,
			map[string]string{"ann": ann, "bob": bob}[who],
		)
	}
	_, _ = io.WriteString(c.c, all.String())
	for _, who := range order {
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if got := string(b); got != want[who] || (cookieOf(t, resp.Header) != "") != (who == "new") {
			t.Errorf("%s is answered %q", who, got)
		}
	}
}

type contextKey struct{}

// All that an app may make of its request before it asks for the session.
var derived = map[string]func(*http.Request) *http.Request{
	"itself": func(r *http.Request) *http.Request { return r },
	"copy":   func(r *http.Request) *http.Request { c := *r; return &c },
	"value": func(r *http.Request) *http.Request {
		return r.WithContext(context.WithValue(r.Context(), contextKey{}, 1))
	},
	"without cancel": func(r *http.Request) *http.Request { return r.WithContext(context.WithoutCancel(r.Context())) },
	"clone":          func(r *http.Request) *http.Request { return r.Clone(r.Context()) },
	"clone, value": func(r *http.Request) *http.Request {
		return r.Clone(context.WithValue(r.Context(), contextKey{}, 1))
	},
	"clone, without cancel": func(r *http.Request) *http.Request { return r.Clone(context.WithoutCancel(r.Context())) },
	"clone of a clone": func(r *http.Request) *http.Request {
		return r.Clone(context.WithoutCancel(r.Context())).Clone(context.WithValue(r.Context(), contextKey{}, 1))
	},
	"no header, no line": func(r *http.Request) *http.Request {
		c := r.WithContext(context.WithoutCancel(r.Context()))
		c.Header, c.RequestURI = nil, ""
		return c
	},
	"made anew": func(r *http.Request) *http.Request {
		c, _ := http.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Method, r.URL.String(), http.NoBody)
		return c
	},
}

// Goroutines that outlive their request, on a connection that a balancer uses
// for one user after the other: none may see the other's session.
func TestSessionOfARequestThatIsOver(t *testing.T) {
	t.Parallel()
	ask, answers := make(chan bool), make(chan string)
	n := steps{
		"a": func(w http.ResponseWriter, r *http.Request) {
			report(t, webapps.SessionOf(r).Set("who", "a"))
			fmt.Fprint(w, "a")
			for name, derive := range derived {
				for _, later := range []bool{false, true} {
					mine := r
					if !later {
						mine = derive(r)
					}
					go func() {
						for range ask {
							asking := mine
							if later {
								asking = derive(mine)
							}
							answers <- name + ": " + sees(asking, w)
						}
					}()
				}
			}
		},
		"b": func(w http.ResponseWriter, r *http.Request) {
			report(t, webapps.SessionOf(r).Set("who", "b"))
			for range 2 * len(derived) {
				ask <- true
				if got := <-answers; !strings.HasSuffix(got, ": nothing") {
					t.Error(got)
				}
			}
			who, _, _ := webapps.Get[string](webapps.SessionOf(r), "who")
			fmt.Fprint(w, who)
		},
		"who": func(w http.ResponseWriter, r *http.Request) {
			who, _, _ := webapps.Get[string](webapps.SessionOf(r), "who")
			fmt.Fprint(w, who)
		},
	}.alone(t)
	defer close(ask)
	c := dialNode(t, n)
	_, a := c.get("/test/a", "")
	for range 3 { // each goroutine has its turn
		if body, b := c.get("/test/b", ""); body != "b" || b == a || b == "" {
			t.Errorf("answer %q, the same cookie %v", body, b == a)
		}
	}
	for range 2 * len(derived) { // between two requests
		ask <- true
		if got := <-answers; !strings.HasSuffix(got, ": nothing") {
			t.Error(got)
		}
	}
	if who, _ := c.get("/test/who", a); who != "a" {
		t.Errorf("the first user's session is %q", who)
	}
}

// sees is what a request that is over gets: a session, or an answer to write to.
func sees(r *http.Request, w http.ResponseWriter) string {
	if _, ok := webapps.ExistingSession(r); ok {
		return "a session is there"
	}
	s := webapps.SessionOf(r)
	who, _, err := webapps.Get[string](s, "who")
	if s.ID() != "" || who != "" || !errors.Is(err, webapps.ErrRequestOver) || !errors.Is(s.Set("who", "x"), webapps.ErrRequestOver) {
		return fmt.Sprintf("a session of %q, %v", who, err)
	}
	w.Header().Set("Set-Cookie", "planted")
	w.WriteHeader(http.StatusTeapot)
	if _, err := w.Write([]byte("planted")); err == nil {
		return "an answer to write to"
	}
	if _, err := io.WriteString(w, "planted"); err == nil {
		return "an answer to write to"
	}
	w.(http.Flusher).Flush()
	return "nothing"
}

// While the handler runs, whatever is made of its request has its session.
func TestSessionOfARequestMadeOfAnother(t *testing.T) {
	t.Parallel()
	foreign := []string{"no header, no line", "made anew"} // and in doubt there is none
	n := steps{"all": func(w http.ResponseWriter, r *http.Request) {
		s := webapps.SessionOf(r)
		for name, derive := range derived {
			if got := webapps.SessionOf(derive(r)); (got == s) == slices.Contains(foreign, name) {
				t.Errorf("%s: the request's session: %v", name, got == s)
			}
			ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), time.Minute)
			defer cancel()
			if got := webapps.SessionOf(derive(r.Clone(ctx))); (got == s) == slices.Contains(foreign, name) {
				t.Errorf("%s of a clone: the request's session: %v", name, got == s)
			}
		}
		// What middleware does.
		http.StripPrefix("/all", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if webapps.SessionOf(r) != s {
				t.Error("another session below StripPrefix")
			}
		})).ServeHTTP(w, r)
		http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if webapps.SessionOf(r.Clone(r.Context())) != s {
				t.Error("another session below TimeoutHandler")
			}
			fmt.Fprint(w, "fine")
		}), time.Minute, "").ServeHTTP(w, r)
		*r = *r.WithContext(t.Context()) //nolint:contextcheck // that is the point
		if _, ok := webapps.ExistingSession(r); ok {
			t.Error("a session without a context")
		}
	}}.alone(t)
	c := dialNode(t, n)
	for range 3 {
		if body, cookie := c.get("/test/all", ""); body != "fine" || cookie == "" {
			t.Errorf("%q, cookie %q", body, cookie)
		}
	}
}

// Readers and writers that race with the end of their handler, on one
// connection, request after request: the race detector watches, and every user has
// their own body and session.
func TestRequestsThatEndWhileTheyAreUsed(t *testing.T) {
	t.Parallel()
	n := steps{"go": func(w http.ResponseWriter, r *http.Request) {
		who := r.FormValue("who")
		byHandler := strings.HasPrefix(who, "even") // else goroutines fill the session, maybe too late
		s, ok := webapps.ExistingSession(r)
		if ok {
			if got, found, err := webapps.Get[string](s, "who"); (found || byHandler) && got != who || err != nil {
				t.Errorf("%s sees the session of %q, %v", who, got, err)
			}
		} else if byHandler {
			if err := webapps.SessionOf(r).Set("who", who); err != nil {
				t.Error(err)
			}
		}
		fmt.Fprint(w, who)
		for range 3 {
			go func() {
				for range 50 {
					s := webapps.SessionOf(r.Clone(context.WithoutCancel(r.Context())))
					if s.ID() == "" {
						_, _ = io.WriteString(w, "late")
						continue
					}
					if got, found, _ := webapps.Get[string](s, "who"); found && got != who {
						t.Errorf("%s sees the session of %q", who, got)
					}
					_ = s.Set("who", who)
				}
			}()
		}
	}}.alone(t)
	c := dialNode(t, n)
	cookies := map[string]string{}
	for i := range 200 {
		who := []string{"odd", "even"}[i%2] + fmt.Sprint(i%7)
		body, set := c.get("/test/go?who="+who, cookies[who])
		if body != who {
			t.Fatalf("%s is answered %q", who, body)
		}
		if set != "" {
			cookies[who] = set
		}
	}
	for i := range 7 {
		if who := "even" + fmt.Sprint(i); cookies[who] == "" {
			t.Errorf("%s has no session, so nothing was compared", who)
		}
	}
}
