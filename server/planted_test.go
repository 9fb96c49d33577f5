package server

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/webapps"
)

// plantedRounds is how many logins each case of TestPlantedCookie races; the variable
// NODESERVER_TEST_ROUNDS asks for more.
func plantedRounds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("NODESERVER_TEST_ROUNDS")
	if text == "" {
		return 25
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal("NODESERVER_TEST_ROUNDS:", err)
	}
	return n
}

// identities is an app in which users log in, each by one of the ways that apps have.
func identities() steps {
	user := func(w http.ResponseWriter, r *http.Request) {
		s, ok := webapps.ExistingSession(r)
		if !ok {
			fmt.Fprint(w, "nobody")
			return
		}
		name, _, err := webapps.Get[string](s, "user")
		fmt.Fprintf(w, "user=%s principal=%s err=%v", name, s.Principal(), err)
	}
	login := func(do func(s *webapps.Session, name string) error) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			err := do(s, r.FormValue("name"))
			if err == nil {
				err = s.Set("user", r.FormValue("name"))
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
			}
		}
	}
	return steps{
		"who": user,
		"keep": func(w http.ResponseWriter, r *http.Request) { // what the attacker does meanwhile
			if s, ok := webapps.ExistingSession(r); ok {
				s.SetMaxInactive(time.Hour)
			}
			user(w, r)
		},
		"changeid":  login(func(s *webapps.Session, _ string) error { return s.ChangeID() }),
		"principal": login(func(s *webapps.Session, name string) error { return s.SetPrincipal(name) }),
	}
}

// with asks with this cookie, whatever answers set.
func with(t *testing.T, n *node, path, cookie string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.url+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Cookie", cookie)
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer func() { _ = res.Body.Close() }()
	b, _ := io.ReadAll(res.Body)
	return string(b)
}

// TestPlantedCookie lets a user log in whose anonymous cookie somebody has planted, who uses
// it without pause on another node. When the login's answer is out, the planted cookie opens
// nothing of what came after, anywhere, ever; and the user is logged in.
func TestPlantedCookie(t *testing.T) {
	t.Parallel()
	for _, size := range []int{2, 3} {
		nodes := nodesOf(t, size, identities().app(), nil)
		for _, ways := range [][]string{{"changeid"}, {"principal"}, {"changeid", "principal"}} {
			t.Run(fmt.Sprintf("%d nodes, %s", size, strings.Join(ways, " and ")), func(t *testing.T) {
				for round := range plantedRounds(t) {
					plantedRound(t, nodes, ways, round)
				}
			})
		}
	}
}

func plantedRound(t *testing.T, nodes []*node, ways []string, round int) {
	t.Helper()
	u := newUser(t)
	u.want(nodes[0], "/test/inc", "1")
	planted := ""
	for _, k := range u.web.Jar.Cookies(urlOf(t, nodes[0])) {
		if k.Name == "NSESSIONID" {
			planted = k.Name + "=" + k.Value
		}
	}
	u.holds(nodes[1], "1 <nil>")
	var over atomic.Bool // the logins are answered
	var stop atomic.Bool
	var attack, running sync.WaitGroup
	for _, n := range nodes[1:] {
		running.Add(1)
		attack.Go(func() {
			for first := true; !stop.Load(); first = false {
				after := over.Load()
				body := with(t, n, "/test/keep", planted)
				if first {
					running.Done()
				}
				if after && strings.Contains(body, "user=ann") {
					t.Errorf("round %d: %s shows the planted cookie %q", round, n.server.cfg.Node.Name, body)
				}
			}
		})
	}
	running.Wait()
	names := map[string]bool{}
	var logins sync.WaitGroup
	won := make([]*user, len(ways))
	for i, way := range ways {
		won[i] = newUser(t)
		won[i].web.Jar = cloneJar(t, u, nodes)
		name := fmt.Sprintf("ann%d", i)
		names[name] = true
		logins.Go(func() {
			if status, _, _ := won[i].get(nodes[i%len(nodes)], "/test/"+way+"?name="+name); status != http.StatusOK {
				won[i] = nil // another login was first
			}
		})
	}
	logins.Wait()
	over.Store(true)
	some := false
	for i, w := range won {
		if w == nil {
			continue
		}
		some = true
		for _, n := range nodes {
			_, body, _ := w.get(n, "/test/who")
			if want := fmt.Sprintf("user=ann%d ", i); !strings.Contains(body, want) {
				t.Errorf("round %d: %s shows user %d %q", round, n.server.cfg.Node.Name, i, body)
			}
		}
	}
	if !some {
		t.Errorf("round %d: nobody is logged in", round)
	}
	for range 3 {
		for _, n := range nodes {
			if body := with(t, n, "/test/who", planted); body != "nobody" {
				t.Errorf("round %d: %s shows the planted cookie %q", round, n.server.cfg.Node.Name, body)
			}
		}
	}
	stop.Store(true)
	attack.Wait()
}

// A stream that was begun with the planted cookie shows nothing of what comes after the login,
// and ends with an error that names the reason.
func TestStreamOfAPlantedCookie(t *testing.T) {
	t.Parallel()
	begun, login := make(chan struct{}), make(chan struct{})
	app := identities()
	app["watch"] = func(w http.ResponseWriter, r *http.Request) {
		s := webapps.SessionOf(r)
		fmt.Fprint(w, "begun;")
		_ = http.NewResponseController(w).Flush()
		close(begun)
		<-login
		name, _, err := webapps.Get[string](s, "user") // the login's answer is out, so all nodes know
		fmt.Fprintf(w, "user=%s err=%v names=%v principal=%s set=%v", name, err, s.Names(), s.Principal(), s.Set("x", 1))
	}
	nodes := nodesOf(t, 2, app.app(), nil)
	for _, at := range nodes { // where the login is, and elsewhere
		begun, login = make(chan struct{}), make(chan struct{})
		u := newUser(t)
		u.want(nodes[0], "/test/inc", "1")
		u.holds(nodes[1], "1 <nil>")
		thief := newUser(t)
		thief.web.Jar = cloneJar(t, u, nodes)
		done := make(chan string)
		go func() {
			_, body, _ := thief.get(at, "/test/watch")
			done <- body
		}()
		<-begun
		u.want(nodes[0], "/test/principal?name=ann", "")
		close(login)
		const why = `app test: read attribute "user": another request has changed the session's id`
		got := <-done
		if !strings.HasPrefix(got, "begun;user= err="+why) || strings.Contains(got, "ann") || !strings.Contains(got, "names=[]") {
			t.Errorf("the stream at %s shows %q", at.server.cfg.Node.Name, got)
		}
		u.want(at, "/test/who", "user=ann principal=ann err=<nil>")
	}
}

func urlOf(t *testing.T, n *node) *url.URL {
	t.Helper()
	at, err := url.Parse(n.url + "/test/")
	if err != nil {
		t.Fatal(err)
	}
	return at
}
