package e2e

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// user is a browser: a cookie jar. Safe for parallel requests.
type user struct {
	mu  sync.Mutex
	jar map[string]string
}

// answer is what a user got.
type answer struct {
	status int
	header http.Header
	body   string
	took   time.Duration
}

// get asks for a path of the bench app. The error is that no answer came.
func (u *user) get(n *node, path string) (answer, error) {
	r, err := http.NewRequest(http.MethodGet, "http://"+n.http+"/bench/"+path, nil)
	if err != nil {
		return answer{}, err
	}
	u.send(r)
	begin := time.Now()
	w, err := n.client.Do(r)
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", n.name, err)
	}
	defer func() { _ = w.Body.Close() }()
	body, err := io.ReadAll(w.Body)
	if err != nil {
		return answer{}, fmt.Errorf("%s: /bench/%s: %w", n.name, path, err)
	}
	u.keep(w.Cookies())
	return answer{w.StatusCode, w.Header, string(body), time.Since(begin)}, nil
}

// send adds the user's cookies to a request.
func (u *user) send(r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for name, value := range u.jar {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
}

// id is the value of the session cookie.
func (u *user) id() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.jar["NSESSIONID"]
}

func (u *user) keep(cookies []*http.Cookie) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, c := range cookies {
		if u.jar == nil {
			u.jar = map[string]string{}
		}
		u.jar[c.Name] = c.Value
		if c.MaxAge < 0 {
			delete(u.jar, c.Name)
		}
	}
}

// ok is get for an answer that must come and be good.
func (u *user) ok(t testing.TB, n *node, path string) answer {
	t.Helper()
	a, err := u.get(n, path)
	if err != nil {
		t.Fatal(err)
	}
	if a.status != http.StatusOK {
		t.Fatalf("%s: /bench/%s: status %d: %s", n.name, path, a.status, a.body)
	}
	return a
}

// stranger is the same user as somebody who took their session's cookie sees them:
// without what tells a node that others know more, so that it shows what it has
// itself. What they are answered goes into no jar but their own.
func (u *user) stranger() *user {
	u.mu.Lock()
	defer u.mu.Unlock()
	jar := maps.Clone(u.jar)
	maps.DeleteFunc(jar, func(name, _ string) bool { return strings.HasPrefix(name, "NSV-") })
	return &user{jar: jar}
}

// has says what is wrong if the node's own copy of the session is not as wanted:
// lines of /bench/all, or noSession.
func (u *user) has(n *node, want string) error {
	a, err := u.stranger().get(n, "all")
	switch {
	case err != nil:
		return err
	case want == noSession && a.status == http.StatusOK && strings.HasPrefix(a.body, "none -1 "):
		return nil
	case a.status != http.StatusOK || a.body != want:
		return fmt.Errorf("%s has %d %q, want %q", n.name, a.status, a.body, want)
	}
	return nil
}

const noSession = "no session"

// reply is an answer "SID N NODE".
type reply struct {
	sid  string
	n    int
	node string
}

func (a answer) reply(t testing.TB) reply {
	t.Helper()
	r, err := parse(a.body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func parse(body string) (reply, error) {
	f := strings.Fields(body)
	if len(f) < 3 {
		return reply{}, fmt.Errorf("answer %q is not SID N NODE", body)
	}
	n, err := strconv.Atoi(f[1])
	if err != nil {
		return reply{}, fmt.Errorf("answer %q is not SID N NODE", body)
	}
	return reply{f[0], n, f[2]}, nil
}
