package server

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/deploy"
	"github.com/nodeserver/nodeserver/webapps"
)

// bare is a node that doesn't run: its apps can be asked, nothing else.
type bare struct {
	*Server
	start time.Time
}

// first is the first app that is served.
func (s *Server) first() *deploy.Place {
	for p := range s.apps.Each() {
		return p
	}
	return nil
}

// manager is that of the first app.
func (s *Server) manager() *deltamanager.Manager { return s.first().Manager() }

// tick lets the apps' time pass, so that they don't take this machine's being
// slow for a pause of the node.
func (s bare) tick() {
	for a := range s.apps.Each() {
		a.Manager().Settle()
		a.Manager().Core.Tick(time.Since(s.start))
	}
}

func unstarted(tb testing.TB, cfg Config, apps ...webapps.App) bare {
	tb.Helper()
	start := time.Now()
	s, err := New(cfg, apps, discard())
	if err != nil {
		tb.Fatal(err)
	}
	return bare{s, start}
}

// ask asks the app whose path is the longest of those that fit.
func (s bare) ask(t *testing.T, path string, cookies ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
	for _, line := range cookies {
		r.Header.Add("Cookie", line)
	}
	w := httptest.NewRecorder()
	s.tick()
	s.httpServer().Handler.ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func named(name string, app webapps.App) webapps.App {
	app.Name = name
	return app
}

// tokenText is the length of a read-your-writes cookie's value.
const tokenText = 32

// What a browser is told, word for word.
func TestCookieAttributes(t *testing.T) {
	for _, c := range []struct {
		what, app, path, cookie string
		change                  func(*Config)
		want                    string
	}{
		{"plain", "test", "/test/", "NSESSIONID", nil, "; Path=/test/; HttpOnly; SameSite=Lax"},
		{"root", "root", "/", "NSESSIONID", nil, "; Path=/; HttpOnly; SameSite=Lax"},
		{
			"own path and name", "test", "/shop/a/", "SID",
			func(c *Config) {
				c.Sessions.CookieName, c.Apps = "SID", []config.App{{Name: "test", Path: "/shop/a/"}}
			},
			"; Path=/shop/a/; HttpOnly; SameSite=Lax",
		},
		{
			"TLS", "test", "/test/", "NSESSIONID", func(c *Config) { c.HTTP.TLSCert = "cert.pem" },
			"; Path=/test/; HttpOnly; Secure; SameSite=Lax",
		},
		{
			"TLS, root", "root", "/", "__Host-NSESSIONID", func(c *Config) { c.HTTP.TLSCert = "cert.pem" },
			"; Path=/; HttpOnly; Secure; SameSite=Lax",
		},
		{
			"strict", "test", "/test/", "NSESSIONID",
			func(c *Config) { c.HTTP.Cookie.SameSite = "strict" },
			"; Path=/test/; HttpOnly; SameSite=Strict",
		},
		{
			"none", "test", "/test/", "NSESSIONID",
			func(c *Config) { c.HTTP.Cookie = config.Cookie{SameSite: "none", Secure: "always"} },
			"; Path=/test/; HttpOnly; Secure; SameSite=None",
		},
		{
			"always, root", "root", "/", "__Host-NSESSIONID",
			func(c *Config) { c.HTTP.Cookie.Secure = "always" },
			"; Path=/; HttpOnly; Secure; SameSite=Lax",
		},
		{
			"domain, root", "root", "/", "NSESSIONID",
			func(c *Config) { c.HTTP.Cookie = config.Cookie{Domain: "example.com", Secure: "always"} },
			"; Path=/; Domain=example.com; HttpOnly; Secure; SameSite=Lax",
		},
		{
			"the app's own", "test", "/test/", "NSESSIONID",
			func(c *Config) {
				c.HTTP.Cookie = config.Cookie{SameSite: "strict", Domain: "example.com"}
				c.Apps = []config.App{{Name: "test", Cookie: &config.Cookie{SameSite: "lax", Secure: "always"}}}
			},
			"; Path=/test/; HttpOnly; Secure; SameSite=Lax",
		},
	} {
		cfg := testConf("n1")
		if c.change != nil {
			c.change(&cfg)
		}
		s := unstarted(t, cfg, named(c.app, testApp()))
		r := s.ask(t, c.path+"inc")
		lines := r.Header["Set-Cookie"]
		if len(lines) != 1 {
			t.Errorf("%s: %q", c.what, lines)
			continue
		}
		pair, attributes, _ := strings.Cut(lines[0], ";")
		name, value, _ := strings.Cut(pair, "=")
		id, route, ok := strings.Cut(value, ".")
		if name != c.cookie || ";"+attributes != c.want || !ok || route != "n1" || len(id) != 27 {
			t.Errorf("%s: %s, want %s=….n1%s", c.what, lines[0], c.cookie, c.want)
		}
		if got := r.Header["Cache-Control"]; !slices.Equal(got, []string{"private"}) {
			t.Errorf("%s: Cache-Control %q", c.what, got)
		}
		r = s.ask(t, c.path+"logout", pair)
		if got, want := r.Header["Set-Cookie"], c.cookie+"="+strings.Replace(
			c.want, "; HttpOnly", "; Max-Age=0; HttpOnly", 1,
		); len(got) != 1 ||
			got[0] != want {
			t.Errorf("%s: at logout %q, want %q", c.what, got, want)
		}
	}
}

// A cookie is sent when something changes, and never else.
func TestNoCookieWithoutReason(t *testing.T) {
	s := unstarted(t, testConf("n1"), testApp())
	first := s.ask(t, "/test/inc").Cookies()
	if len(first) != 1 {
		t.Fatal(first)
	}
	pair := first[0].Name + "=" + first[0].Value
	for range 3 {
		for _, path := range []string{"raw", "get", "inc", "stream", "panic"} {
			if r := s.ask(t, "/test/"+path, pair); r.Header["Set-Cookie"] != nil {
				t.Errorf("%s: %v", path, r.Header)
			}
		}
	}
	for _, cookies := range [][]string{nil, {"NSESSIONID=unknown"}, {"NSESSIONID=" + strings.Repeat("Z", 27) + ".n1"}} {
		for _, path := range []string{"raw", "get"} {
			if r := s.ask(t, "/test/"+path, cookies...); r.Header["Set-Cookie"] != nil {
				t.Errorf("%s with %v: %v", path, cookies, r.Header)
			}
		}
	}
	// An unknown id is never adopted.
	r := s.ask(t, "/test/inc", "NSESSIONID="+strings.Repeat("A", 27)+".n1")
	if got := cookieOf(t, r.Header); got == "" || strings.HasPrefix(got, "AAAA") {
		t.Errorf("the cookie after an unknown id is %q", got)
	}
}

// Three apps on one host, one below the path of another, all with one cookie
// name: a browser sends each app its own and those of the paths above it.
func TestAppsOnOneHostAreApart(t *testing.T) {
	t.Parallel()
	cfg := testConf("n1")
	cfg.Apps = []config.App{{Name: "below", Path: "/test/below/"}}
	n := startNode(t, cfg, named("root", testApp()), testApp(), named("below", testApp()))
	n.waitReady()
	u := newUser(t)
	counts := map[string]int{}
	add := func(path string) {
		counts[path]++
		u.want(n, path+"inc", fmt.Sprint(counts[path]))
	}
	for range 2 { // those above first: then the ones below get a cookie that is not theirs
		add("/")
		add("/")
		add("/test/")
		add("/test/below/")
		add("/test/below/")
		add("/test/below/")
	}
	u.want(n, "/test/logout", "")
	u.want(n, "/test/get", "none")
	u.want(n, "/get", "4 <nil>")
	u.want(n, "/test/below/get", "6 <nil>")
	for a := range n.server.apps.Each() {
		want := int64(1)
		if a.Name() == "test" {
			want = 0
		}
		if got := a.Manager().Stats().Sessions; got != want {
			t.Errorf("%s has %d sessions", a.Name(), got)
		}
	}
}

// Of whatever cookies come along, the first that is ours counts.
func TestCookiesOfAllKinds(t *testing.T) {
	s := unstarted(t, testConf("n1"), testApp())
	session := func(n int) string {
		c := s.ask(t, "/test/inc").Cookies()[0]
		pair := c.Name + "=" + c.Value
		for range n - 1 {
			s.ask(t, "/test/inc", pair)
		}
		return pair
	}
	two, three := session(2), session(3)
	id := strings.TrimSuffix(two, ".n1")
	wrong := "NSESSIONID=" + strings.Repeat("A", 27) + ".n1"
	for what, c := range map[string]struct {
		cookies []string
		want    string
	}{
		"none":                    {nil, "none"},
		"ours":                    {[]string{two}, "2 <nil>"},
		"quoted":                  {[]string{`NSESSIONID="` + strings.TrimPrefix(two, "NSESSIONID=") + `"`}, "2 <nil>"},
		"without a route":         {[]string{id}, "2 <nil>"},
		"of another node":         {[]string{id + ".elsewhere"}, "2 <nil>"},
		"route of many letters":   {[]string{id + "." + strings.Repeat("x", 100)}, "2 <nil>"},
		"route with a prefix":     {[]string{"NSESSIONID=n3~" + strings.TrimPrefix(two, "NSESSIONID=")}, "none"},
		"overlong":                {[]string{id + "." + strings.Repeat("x", 101)}, "none"},
		"more letters":            {[]string{id + "x.n1"}, "none"},
		"fewer letters":           {[]string{id[:len(id)-1] + ".n1"}, "none"},
		"other case":              {[]string{strings.ToLower(two)}, "none"},
		"empty":                   {[]string{"NSESSIONID="}, "none"},
		"among others":            {[]string{"a=b; " + two + "; c=d"}, "2 <nil>"},
		"on a second line":        {[]string{"a=b", two}, "2 <nil>"},
		"no spaces":               {[]string{"a=b;" + two + ";c=d"}, "2 <nil>"},
		"after nonsense":          {[]string{";;=; x; \x00=\x01; " + two}, "2 <nil>"},
		"after unknown ones":      {[]string{wrong + "; NSESSIONID=zzz; " + two}, "2 <nil>"},
		"doubled":                 {[]string{two + "; " + two}, "2 <nil>"},
		"two sessions":            {[]string{two + "; " + three}, "2 <nil>"},
		"two sessions, reversed":  {[]string{three + "; " + two}, "3 <nil>"},
		"after eight unknown":     {[]string{strings.Repeat(wrong+"; ", 8) + two}, "none"},
		"after seven unknown":     {[]string{strings.Repeat(wrong+"; ", 7) + two}, "2 <nil>"},
		"after a thousand others": {[]string{strings.Repeat("c=v; ", 1000) + two}, "2 <nil>"},
		"foreign":                 {[]string{"JSESSIONID=0123456789ABCDEF.n1; PHPSESSID=x; sid=" + id}, "none"},
		"another app's":           {[]string{"__Host-" + two}, "none"},
	} {
		r := s.ask(t, "/test/get", c.cookies...)
		if got := text(t, r); got != c.want {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
	if got := s.manager().Stats().Sessions; got != 2 {
		t.Errorf("%d sessions", got)
	}
}

// A cookie moves to this node if the node it names serves nobody, and only then.
func TestCookieMovesOnlyIfItMust(t *testing.T) {
	s := unstarted(t, testConf("n1"), testApp())
	member := func(name string, state membership.State, ready, draining bool) membership.Status {
		var m membership.Status
		m.Name, m.State, m.Ready, m.Draining, m.Apps = name, state, ready, draining, []string{"other", "test"}
		return m
	}
	lacks := member("lacks", membership.Alive, true, false)
	lacks.Apps = []string{"other"}
	s.members.Store(&[]membership.Status{
		member("n1", membership.Alive, true, false),
		member("n2", membership.Alive, true, false),
		member("slow", membership.Suspect, true, false),
		member("joins", membership.Alive, false, false),
		member("drains", membership.Alive, true, true),
		member("gone", membership.Gone, true, false),
		lacks,
	})
	c := s.ask(t, "/test/inc").Cookies()[0]
	id, _, _ := strings.Cut(c.Value, ".")
	for route, moves := range map[string]bool{
		"n1": false, "n2": false, "slow": false,
		"joins": true, "drains": true, "gone": true, "lacks": true, "unknown": true, "": true,
	} {
		value := id + "." + route
		if route == "" {
			value = id
		}
		r := s.ask(t, "/test/get", "NSESSIONID="+value)
		if got := cookieOf(t, r.Header); (got == id+".n1") != moves || (got == "") == moves {
			t.Errorf("the route %q: cookie %q", route, got)
		}
		if r := s.ask(t, "/test/raw", "NSESSIONID="+value); r.Header["Set-Cookie"] != nil {
			t.Errorf("the route %q: a request without a session sets a cookie", route)
		}
	}
}

// A shared cache is told not to keep the cookie, unless it keeps nothing anyway.
func TestCacheControlWithACookie(t *testing.T) {
	const ours = `no-cache="Set-Cookie, Set-Cookie2"`
	var own []string
	s := unstarted(t, testConf("n1"), writesN(func(w http.ResponseWriter, r *http.Request) {
		for _, v := range own {
			w.Header().Add("Cache-Control", v)
		}
		webapps.SessionOf(r)
	}))
	for _, c := range [][2][]string{
		{nil, {"private"}},
		{{"no-store"}, {"no-store"}},
		{{"Private, max-age=60"}, {"Private, max-age=60"}},
		{{"public, max-age=3600"}, {"public, max-age=3600", ours}},
		{{"max-age=60", "No-Store"}, {"max-age=60", "No-Store"}},
		{{"no-cache"}, {"no-cache", ours}},
		{{ours}, {ours}},
	} {
		own = c[0]
		if got := s.ask(t, "/test/").Header["Cache-Control"]; !slices.Equal(got, c[1]) {
			t.Errorf("the app says %q: %q, want %q", own, got, c[1])
		}
	}
}

// A cache may give an answer that depends on a session to nobody else, whether
// a session was found or not; answers that look at none are the app's alone.
func TestCachesAreToldOfASession(t *testing.T) {
	var vary, control []string
	look := func(r *http.Request) { webapps.SessionOf(r) }
	s := unstarted(t, testConf("n1"), writesN(func(w http.ResponseWriter, r *http.Request) {
		for _, v := range vary {
			w.Header().Add("Vary", v)
		}
		for _, v := range control {
			w.Header().Add("Cache-Control", v)
		}
		look(r)
	}))
	cookie := "NSESSIONID=" + cookieOf(t, s.ask(t, "/test/").Header)
	existing := func(r *http.Request) { webapps.ExistingSession(r) }
	for _, c := range []struct {
		what                                 string
		look                                 func(*http.Request)
		cookie                               string
		vary, control, wantVary, wantControl []string
	}{
		{what: "none asked for", look: func(*http.Request) {}, cookie: cookie},
		{
			what: "none asked for, app's own", look: func(*http.Request) {}, vary: []string{"Accept"},
			control: []string{"public"}, wantVary: []string{"Accept"}, wantControl: []string{"public"},
		},
		{what: "none found", look: existing, wantVary: []string{"Cookie"}, wantControl: []string{"private"}},
		{what: "found", look: existing, cookie: cookie, wantVary: []string{"Cookie"}, wantControl: []string{"private"}},
		{
			what: "made", look: func(r *http.Request) { webapps.SessionOf(r) }, wantVary: []string{"Cookie"},
			wantControl: []string{"private"},
		},
		{
			what: "app's Vary", look: existing, vary: []string{"Accept", "Origin"},
			wantVary: []string{"Accept", "Origin", "Cookie"}, wantControl: []string{"private"},
		},
		{
			what: "app's Vary has it", look: existing, vary: []string{"Accept , cookie"}, wantVary: []string{"Accept , cookie"},
			wantControl: []string{"private"},
		},
		{what: "app varies by all", look: existing, vary: []string{"*"}, wantVary: []string{"*"}, wantControl: []string{"private"}},
		{
			what: "app's word on caches", look: existing, cookie: cookie, control: []string{"public, max-age=60"},
			wantVary: []string{"Cookie"}, wantControl: []string{"public, max-age=60"},
		},
	} {
		look, vary, control = c.look, c.vary, c.control
		var cookies []string
		if c.cookie != "" {
			cookies = []string{c.cookie}
		}
		h := s.ask(t, "/test/", cookies...).Header
		if !slices.Equal(h["Vary"], c.wantVary) || !slices.Equal(h["Cache-Control"], c.wantControl) {
			t.Errorf("%s: Vary %q, Cache-Control %q", c.what, h["Vary"], h["Cache-Control"])
		}
	}
	look, vary, control = existing, nil, nil
	if h := s.ask(t, "/test/", cookie).Header; !slices.Equal(h["Vary"], []string{"Cookie"}) ||
		!slices.Equal(h["Cache-Control"], []string{"private"}) {
		t.Errorf("an answer has changed what all answers share: %q %q", h["Vary"], h["Cache-Control"])
	}
}

// Read-your-writes cookies: what they look like, when they come, and what is not one.
func TestFreshnessCookies(t *testing.T) {
	cfg := testConf("n1")
	cfg.Sessions.Freshness, cfg.Sessions.FreshnessWait = "on", 50*time.Millisecond
	cfg.HTTP.TLSCert = "cert.pem"
	s := unstarted(t, cfg, testApp())
	jar := map[string]string{}
	visit := func(path string) (set []string) {
		var pairs []string
		for _, name := range slices.Sorted(maps.Keys(jar)) {
			pairs = append(pairs, name+"="+jar[name])
		}
		r := s.ask(t, path, strings.Join(pairs, "; "))
		for _, c := range r.Cookies() {
			jar[c.Name] = c.Value
			set = append(set, c.Name)
		}
		for _, line := range r.Header["Set-Cookie"] {
			if v, ok := strings.CutPrefix(line, "NSV-n1="); ok &&
				v[tokenText:] != "; Path=/test/; Max-Age=10; HttpOnly; Secure; SameSite=Lax" {
				t.Errorf("a read-your-writes cookie: %s", line)
			}
		}
		return set
	}
	for i, c := range []struct {
		path string
		want []string
	}{
		{"/test/raw", nil},
		{"/test/get", nil},
		{"/test/inc", []string{"NSESSIONID", "NSV-n1"}},
		{"/test/raw", nil},
		{"/test/get", nil},
		{"/test/inc", []string{"NSV-n1"}},
		{"/test/get", nil},
		{"/test/panic", nil},
		{"/test/login", []string{"NSESSIONID", "NSV-n1"}},
		{"/test/get", nil},
	} {
		if got := visit(c.path); !slices.Equal(got, c.want) {
			t.Errorf("%d: %s sets %q, want %q", i, c.path, got, c.want)
		}
	}
	// A browser that lost it is told again, as long as it matters.
	delete(jar, "NSV-n1")
	if got := visit("/test/get"); !slices.Equal(got, []string{"NSV-n1"}) {
		t.Errorf("without it: %q", got)
	}
	if got := visit("/test/logout"); !slices.Equal(got, []string{"NSESSIONID"}) {
		t.Errorf("logout: %q", got)
	}
}

// A balancer that ends TLS in front of the node: cookies are Secure, with __Host- where an app has
// the path "/", and the app sees the user's address and host. A stranger who says the same has no
// effect.
func TestCookiesBehindTLS(t *testing.T) {
	t.Parallel()
	app := webapps.App{Name: "test", New: func(webapps.Context) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			n, _, _ := webapps.Get[int](s, "n")
			report(t, s.Set("n", n+1))
			addr, _, _ := net.SplitHostPort(r.RemoteAddr)
			fmt.Fprint(w, n+1, " ", addr, " ", r.Host, " ", r.TLS != nil)
		}), nil
	}}
	for _, c := range []struct {
		path, trusted string
		name          string
		secure        bool
		answer        string
	}{
		{"/", "127.0.0.0/8", "__Host-NSESSIONID", true, "203.0.113.7 shop.example true"},
		{"/test/", "127.0.0.0/8", "NSESSIONID", true, "203.0.113.7 shop.example true"},
		{"/", "192.0.2.0/24", "NSESSIONID", false, "127.0.0.1 inner.example false"},
	} {
		cfg := testConf("n1")
		cfg.HTTP.TrustedProxies = []string{c.trusted}
		cfg.Apps = []config.App{{Name: "test", Path: c.path}}
		n := startNode(t, cfg, app)
		n.waitReady()
		cookie := ""
		for i := range 2 {
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, n.url+c.path, nil)
			r.Host = "inner.example"
			r.Header.Set("X-Forwarded-For", "203.0.113.7")
			r.Header.Set("X-Forwarded-Proto", "https")
			r.Header.Set("X-Forwarded-Host", "shop.example")
			if cookie != "" {
				r.Header.Set("Cookie", cookie)
			}
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if want := fmt.Sprint(i+1, " ", c.answer); string(body) != want {
				t.Errorf("%s, %s is trusted: %q, want %q", c.path, c.trusted, body, want)
			}
			for _, k := range res.Cookies() {
				if k.Secure != c.secure {
					t.Errorf("%s, %s is trusted: %v", c.path, c.trusted, k)
				}
				if strings.HasSuffix(k.Name, "NSESSIONID") {
					if cookie = k.Name + "=" + k.Value; k.Name != c.name {
						t.Errorf("%s, %s is trusted: %s, want %s", c.path, c.trusted, k.Name, c.name)
					}
				}
			}
		}
	}
}

// A cookie with max_age is kept for so long from when it is given, and never beyond the end of
// its session, also after a login and where it is given again since its node is gone.
func TestCookieMaxAge(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		nodes := b.cluster(2, testApp(), func(c *Config) {
			c.HTTP.Cookie.MaxAge, c.Sessions.MaxInactive, c.Sessions.AbsoluteLifetime = 10*time.Minute, time.Hour, 15*time.Minute
		})
		u := b.user()
		age := func(n *bubbleNode, path string) string {
			t.Helper()
			_, _, h := u.get(n.node, path)
			for _, line := range h["Set-Cookie"] {
				if name, _, _ := strings.Cut(line, "="); name == "NSESSIONID" {
					_, rest, _ := strings.Cut(line, "; Max-Age=")
					age, _, _ := strings.Cut(rest, ";")
					return age
				}
			}
			return "no cookie"
		}
		want := func(n *bubbleNode, path string, ages ...string) {
			t.Helper()
			if got := age(n, path); !slices.Contains(ages, got) {
				t.Errorf("%s: Max-Age %s, want %v", path, got, ages)
			}
		}
		want(nodes[0], "/test/inc", "600")
		want(nodes[0], "/test/inc", "no cookie")
		pass(3 * time.Minute)
		want(nodes[0], "/test/login", "600")
		pass(6 * time.Minute)
		b.crash(nodes[0])
		b.within(10*time.Second, "the crash is noticed", func() bool { return !nodes[1].server.serves("test", "n1") })
		pass(time.Minute - time.Duration(time.Now().UnixNano()%int64(time.Minute)))
		want(nodes[1], "/test/get", "299", "300") // 10 of 15 minutes are over, all told
		want(nodes[1], "/test/logout", "0")
	})
}
