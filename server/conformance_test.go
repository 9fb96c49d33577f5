package server

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/webapps"
)

// testsOfAll are the names of all tests there are; true: of flaws of others that sessions are
// about.
func testsOfAll(t *testing.T) map[string]bool {
	t.Helper()
	tests := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark|Example)\w+)\(`)
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range function.FindAllStringSubmatch(string(source), -1) {
			tests[m[1]] = tests[m[1]] || path == filepath.Join("..", "server", "tomcat_test.go")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}

// docs/SECURITY.md names the tests that "make hostile" runs. Each must exist.
func TestDocSecurityIsTrue(t *testing.T) {
	doc, err := os.ReadFile("../docs/SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := testsOfAll(t)
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+)`").FindAllStringSubmatch(string(doc), -1)
	if len(named) < 15 {
		t.Errorf("it names %d tests only", len(named))
	}
	for _, m := range named {
		if _, exists := tests[m[1]]; !exists {
			t.Errorf("it names %s, which does not exist", m[1])
		}
	}
}

// docs/SESSIONS.md names a test for each thing it promises. Each must exist, and
// each method that authors have must be in it, and each test of a known flaw.
func TestSessionsDocIsTrue(t *testing.T) {
	b, err := os.ReadFile("../docs/SESSIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	tests := testsOfAll(t)
	named := regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark|Example)[A-Z]\w+`).FindAllString(doc, -1)
	if len(named) < 50 {
		t.Errorf("it names %d tests only", len(named))
	}
	for _, name := range named {
		if _, exists := tests[name]; !exists {
			t.Errorf("it names %s, which does not exist", name)
		}
	}
	for name, flaw := range tests {
		if flaw && !slices.Contains(named, name) {
			t.Errorf("it does not name %s", name)
		}
	}
	for m := range reflect.TypeFor[*webapps.Session]().Methods() {
		if !strings.Contains(doc, "`"+m.Name) {
			t.Errorf("it does not have Session.%s", m.Name)
		}
	}
	for name := range strings.FieldsSeq(elsewhere) {
		if !regexp.MustCompile("[`.]" + name + `\b`).MatchString(doc) {
			t.Errorf("it does not have %s", name)
		}
	}
	for f := range reflect.TypeFor[webapps.Listener]().Fields() {
		if !strings.Contains(doc, "`"+f.Name+"`") {
			t.Errorf("it does not have Listener.%s", f.Name)
		}
	}
}

// elsewhere is what authors know from HttpSession and its listeners, and from scs.
const elsewhere = `getCreationTime getId getLastAccessedTime getServletContext setMaxInactiveInterval getMaxInactiveInterval
	getAttribute getAttributeNames setAttribute removeAttribute invalidate isNew getAccessor
	sessionCreated sessionDestroyed sessionIdChanged attributeAdded attributeReplaced attributeRemoved valueBound valueUnbound
	sessionWillPassivate sessionDidActivate changeSessionId getSession
	LoadAndSave Load Commit Destroy Put Get Pop Remove Clear Exists Keys RenewToken MergeSession Status Token Deadline SetDeadline
	RememberMe Iterate WriteSessionCookie IdleTimeout Lifetime Store Codec ErrorFunc HashTokenInStore
	Name Domain HttpOnly Path Persist SameSite Secure Partitioned`

// gorilla's flashes, and scs's Pop: read once, also by two tabs at once.
func TestFlashIsReadOnce(t *testing.T) {
	t.Parallel()
	n := steps{
		"say": func(_ http.ResponseWriter, r *http.Request) {
			var list []string
			report(t, webapps.SessionOf(r).Update("flashes", &list, func() error {
				list = append(list, r.FormValue("text"))
				return nil
			}))
		},
		"flashes": func(w http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			var list, all []string
			report(t, s.Update("flashes", &list, func() error {
				all, list = list, nil
				return nil
			}))
			s.Remove("flashes")
			fmt.Fprint(w, all)
		},
	}.alone(t)
	u := newUser(t)
	u.want(n, "/test/say?text=saved", "")
	u.want(n, "/test/say?text=sent", "")
	answers := make(chan string)
	for range 2 {
		go func() {
			_, got, _ := u.get(n, "/test/flashes")
			answers <- got
		}()
	}
	if both := []string{<-answers, <-answers}; !slices.Contains(both, "[saved sent]") || !slices.Contains(both, "[]") {
		t.Errorf("two tabs see %q", both)
	}
	u.want(n, "/test/flashes", "[]")
}

// scs's Clear, Exists and Keys.
func TestClearKeepsTheSession(t *testing.T) {
	t.Parallel()
	n := steps{
		"fill": func(w http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			report(t, s.Set("a", 1))
			report(t, s.Set("b", struct{ X int }{1}))
			fmt.Fprint(w, slices.Contains(s.Names(), "b"), slices.Contains(s.Names(), "c"))
		},
		"clear": func(w http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			for _, name := range s.Names() {
				s.Remove(name)
			}
			fmt.Fprint(w, s.Names(), s.IsNew(), s.Principal())
		},
	}.alone(t)
	u := newUser(t)
	u.want(n, "/test/fill", "true false")
	u.want(n, "/test/login", "")
	u.want(n, "/test/clear", "[] falseann")
	u.want(n, "/test/clear", "[] falseann")
}

// Servlet's attributeAdded, attributeReplaced and attributeRemoved are one
// hook here: whether the attribute is still there, Get says.
func TestAttributeListenerHearsEachChange(t *testing.T) {
	t.Parallel()
	var r record
	app := steps{
		"add":  func(_ http.ResponseWriter, r *http.Request) { report(t, webapps.SessionOf(r).Set("a", 1)) },
		"same": func(_ http.ResponseWriter, r *http.Request) { report(t, webapps.SessionOf(r).Set("a", 2)) },
		"many": func(_ http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			report(t, s.Set("b", 1))
			report(t, s.Set("b", 2))
			report(t, s.Set("c", 1))
			s.Remove("c")
		},
		"remove": func(_ http.ResponseWriter, r *http.Request) {
			webapps.SessionOf(r).Remove("a")
			webapps.SessionOf(r).Remove("never was")
		},
		"read": func(_ http.ResponseWriter, r *http.Request) { webapps.SessionOf(r).Names() },
	}.app()
	inner := app.New
	app.New = func(c webapps.Context) (http.Handler, error) {
		c.(webapps.Events).Listen(webapps.Listener{AttributeChanged: func(e webapps.Event, name string) {
			var n int
			found, err := e.Get(name, &n)
			r.add("%s %v %d %v", name, found, n, err)
		}})
		return inner(c)
	}
	n := startNode(t, testConf("n1"), app)
	n.waitReady()
	u := newUser(t)
	for _, c := range []struct {
		path string
		want []string
	}{
		{"add", []string{"a true 1 <nil>"}},
		{"read", nil},
		{"same", []string{"a true 2 <nil>"}},
		{"many", []string{"b true 2 <nil>", "c false 0 <nil>"}},
		{"remove", []string{"a false 0 <nil>"}},
		{"panic", nil},
	} {
		r.mu.Lock()
		r.lines = nil
		r.mu.Unlock()
		u.get(n, "/test/"+c.path)
		got := r.sorted()
		if c.path == "many" && slices.Equal(got, c.want[:1]) {
			continue // what was never there need not be told
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: told %q, want %q", c.path, got, c.want)
		}
	}
}

// Neither an id in the URL nor what apps, logs and members call a session opens it.
func TestOnlyTheCookieOpensASession(t *testing.T) {
	t.Parallel()
	var id string
	n := steps{
		"id":     func(_ http.ResponseWriter, r *http.Request) { id = webapps.SessionOf(r).ID() },
		"exists": func(w http.ResponseWriter, r *http.Request) { _, ok := webapps.ExistingSession(r); fmt.Fprint(w, ok) },
	}.alone(t)
	u := newUser(t)
	value := cookieOf(t, u.want(n, "/test/id", ""))
	u.want(n, "/test/exists", "true")
	secret, _, _ := strings.Cut(value, ".")
	cookie := fmt.Sprintf("%x", sha256.Sum256([]byte(secret)))[:32]
	if strings.Contains(id, secret) || strings.Contains(secret, id) || len(id) != 32 {
		t.Errorf("the id is %q", id)
	}
	stranger := newUser(t)
	for _, query := range []string{"?NSESSIONID=" + value, "?jsessionid=" + value, "#" + value} {
		stranger.want(n, "/test/exists"+query, "false")
	}
	if status, _, _ := stranger.get(n, "/test/exists;jsessionid="+value); status != http.StatusNotFound {
		t.Errorf("a path with an id in it is found: %d", status)
	}
	for _, v := range []string{id, id[:27], id + ".n1", id[:27] + ".n1", cookie, cookie[:27] + ".n1"} {
		if _, got := do(t, "GET", n.url+"/test/exists", http.Header{"Cookie": {"NSESSIONID=" + v}}); string(got) != "false" {
			t.Errorf("the cookie %q opens a session", v)
		}
	}
	// What members and operators get of a session holds no cookie either.
	dump := n.server.manager().Core.Dump(time.Minute)
	raw, _ := base64.RawURLEncoding.DecodeString(secret)
	if len(dump) != 1 || len(raw) != 20 {
		t.Fatalf("%d sessions, an id of %d bytes", len(dump), len(raw))
	}
	for _, r := range dump[0].Registers {
		if all := r.Name + string(r.Value); strings.Contains(all, secret) || strings.Contains(all, string(raw)) {
			t.Errorf("register %q holds the cookie", r.Name)
		}
	}
}
