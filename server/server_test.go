package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/webapps"
)

// testApp answers what its session holds; its paths do what they say.
func testApp() webapps.App {
	return webapps.App{Name: "test", Version: "1", New: func(c webapps.Context) (http.Handler, error) {
		mux := http.NewServeMux()
		mux.HandleFunc("/raw", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, c.Node()) })
		mux.HandleFunc("/inc", func(w http.ResponseWriter, r *http.Request) {
			var n int
			if err := webapps.SessionOf(r).Update("n", &n, func() error { n++; return nil }); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			fmt.Fprint(w, n)
		})
		mux.HandleFunc("/get", func(w http.ResponseWriter, r *http.Request) {
			s, ok := webapps.ExistingSession(r)
			if !ok {
				fmt.Fprint(w, "none")
				return
			}
			n, _, err := webapps.Get[int](s, "n")
			fmt.Fprint(w, n, err)
		})
		mux.HandleFunc("/login", func(_ http.ResponseWriter, r *http.Request) { _ = webapps.SessionOf(r).SetPrincipal("ann") })
		mux.HandleFunc("/logout", func(_ http.ResponseWriter, r *http.Request) { webapps.SessionOf(r).Invalidate() })
		mux.HandleFunc("/panic", func(_ http.ResponseWriter, r *http.Request) {
			_ = webapps.SessionOf(r).Set("n", 999)
			panic("on purpose")
		})
		mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			_ = s.Set("n", 100)
			fmt.Fprint(w, "one,")
			_ = http.NewResponseController(w).Flush()
			_ = s.Set("n", 200)
			fmt.Fprint(w, "two")
		})
		return mux, nil
	}}
}

// node is a running server of a test.
type node struct {
	t      *testing.T
	server *Server
	url    string
	admin  string
	stop   func()
}

func testConf(name string, static ...string) Config {
	return Config{
		Node: config.Node{Name: name},
		HTTP: config.HTTP{
			Address:           "127.0.0.1:0",
			ReadHeaderTimeout: time.Second,
			MaxBodyBytes:      32 << 20,
			ShutdownGrace:     2 * time.Second,
			ExposeNode:        true,
		},
		Admin:   config.Admin{Address: "127.0.0.1:0"},
		Cluster: config.Cluster{Name: "test"},
		Channel: config.Channel{
			Address:          "127.0.0.1:0",
			ChangeLogEntries: 65536,
			Heartbeat:        100 * time.Millisecond,
			SuspectAfter:     time.Second,
			DownAfter:        3 * time.Second,
		},
		Membership: config.Membership{Providers: []config.Provider{"static"}, Static: static},
		Webapps:    config.Webapps{Strict: true},
		Sessions: config.Sessions{
			CookieName:       "NSESSIONID",
			MaxInactive:      30 * time.Minute,
			AbsoluteLifetime: 24 * time.Hour,
			MaxSessionBytes:  1 << 20,
			Freshness:        "off",
		},
		Replication: config.Replication{
			Acks:           "async",
			AckTimeout:     250 * time.Millisecond,
			OnAckTimeout:   "proceed",
			BatchDelay:     time.Millisecond,
			RepairInterval: 10 * time.Second,
			JoinTimeout:    time.Minute,
			JoinPolicy:     "wait",
		},
	}
}

func freeListener(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// startNode runs a node until the test ends, or stop is called.
func startNode(t *testing.T, cfg Config, apps ...webapps.App) *node {
	t.Helper()
	return startNodeAt(t, cfg, freeListener(t), apps...)
}

// startNodeAt is startNode with a listener for members.
func startNodeAt(t *testing.T, cfg Config, ch net.Listener, apps ...webapps.App) *node {
	t.Helper()
	http, admin := freeListener(t), freeListener(t)
	log := discard()
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	s, err := New(cfg, apps, log, WithListeners(http, admin, ch), WithLogLevel(new(slog.LevelVar)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	n := &node{t: t, server: s, url: "http://" + http.Addr().String(), admin: "http://" + admin.Addr().String()}
	stopped := false
	n.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("node %s: %v", cfg.Node.Name, err)
		}
	}
	t.Cleanup(n.stop)
	return n
}

func (n *node) channel() string { return n.server.channelL.Addr().String() }

// eventually polls until ok, for ten seconds at most.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("%s: not within 10 s", what)
		case <-tick.C:
		}
	}
}

func (n *node) waitReady() {
	n.t.Helper()
	eventually(n.t, n.server.cfg.Node.Name+" ready", n.server.ready.Load)
}

// user is a browser: it keeps cookies.
type user struct {
	t   *testing.T
	web http.Client
}

func newUser(t *testing.T) *user {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &user{t, http.Client{Jar: jar, Timeout: 5 * time.Second}}
}

func (u *user) get(n *node, path string) (int, string, http.Header) {
	u.t.Helper()
	r, err := u.web.Get(n.url + path)
	if err != nil {
		u.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		u.t.Fatal(err)
	}
	return r.StatusCode, string(b), r.Header
}

func (u *user) want(n *node, path, body string) http.Header {
	u.t.Helper()
	status, got, h := u.get(n, path)
	if status != http.StatusOK || got != body {
		u.t.Fatalf("%s%s answers %d %q, want %q", n.server.cfg.Node.Name, path, status, got, body)
	}
	return h
}

func threeNodes(t *testing.T) []*node {
	t.Helper()
	n1 := startNode(t, testConf("n1"), testApp())
	nodes := []*node{n1, startNode(t, testConf("n2", n1.channel()), testApp()), startNode(t, testConf("n3", n1.channel()), testApp())}
	for _, n := range nodes {
		n.waitReady()
		eventually(t, "three members", func() bool { return len(strings.Fields(n.server.names())) == 3 })
	}
	return nodes
}

func TestSessionOutlivesItsNode(t *testing.T) {
	nodes := threeNodes(t)
	u := newUser(t)
	h := u.want(nodes[0], "/test/inc", "1")
	if got := h["Set-Cookie"]; len(got) != 1 || !strings.Contains(got[0], ".n1; Path=/test/; HttpOnly; SameSite=Lax") {
		t.Errorf("cookie: %q", got)
	}
	if h.Get("Nodeserver-Node") != "n1" {
		t.Errorf("Nodeserver-Node: %q", h.Get("Nodeserver-Node"))
	}
	if h := u.want(nodes[0], "/test/inc", "2"); h["Set-Cookie"] != nil {
		t.Errorf("a cookie is sent again though nothing changed: %q", h["Set-Cookie"])
	}
	eventually(t, "replication", func() bool {
		_, got, _ := u.get(nodes[1], "/test/get")
		return got == "2 <nil>"
	})
	if h := u.want(nodes[1], "/test/raw", "n2"); h["Set-Cookie"] != nil {
		t.Errorf("a request that touches no session gets a cookie: %q", h["Set-Cookie"])
	}
	nodes[0].stop()
	h = u.want(nodes[2], "/test/inc", "3")
	if got := h["Set-Cookie"]; len(got) != 1 || !strings.Contains(got[0], ".n3;") {
		t.Errorf("the cookie does not move to n3: %q", got)
	}
}

// TestUserSeesHisOwnWrites moves a user to another node with each request, with
// no time for replication: in async mode, only what the user's cookies say makes the
// next node wait for what the last one wrote.
func TestUserSeesHisOwnWrites(t *testing.T) {
	fresh := func(name string, static ...string) *node {
		cfg := testConf(name, static...)
		cfg.Sessions.Freshness, cfg.Sessions.FreshnessWait = "on", 500*time.Millisecond
		cfg.Replication.BatchDelay = 5 * time.Millisecond
		return startNode(t, cfg, testApp())
	}
	n1 := fresh("n1")
	nodes := []*node{n1, fresh("n2", n1.channel()), fresh("n3", n1.channel())}
	for _, n := range nodes {
		n.waitReady()
		eventually(t, "three members", func() bool { return len(strings.Fields(n.server.names())) == 3 })
	}
	u := newUser(t)
	for i := range 300 {
		n := nodes[(i*i+i/3)%3]
		if h := u.want(n, "/test/inc", strconv.Itoa(i+1)); i == 0 && len(h["Set-Cookie"]) != 2 {
			t.Errorf("cookies of the first answer: %q", h["Set-Cookie"])
		}
	}
	for _, n := range nodes {
		if got := n.server.first().Counts().Stale; got != 0 {
			t.Errorf("%s served %d requests stale", n.server.cfg.Node.Name, got)
		}
	}
}

func TestPanicSavesNothing(t *testing.T) {
	n := startNode(t, testConf("n1"), testApp())
	n.waitReady()
	u := newUser(t)
	u.want(n, "/test/inc", "1")
	if status, body, _ := u.get(n, "/test/panic"); status != http.StatusInternalServerError ||
		!strings.Contains(body, "nothing was saved (error ") {
		t.Errorf("panic answers %d %q", status, body)
	}
	u.want(n, "/test/get", "1 <nil>")
}

func TestWritesAfterAFlushAreSaved(t *testing.T) {
	n := startNode(t, testConf("n1"), testApp())
	n.waitReady()
	u := newUser(t)
	u.want(n, "/test/stream", "one,two")
	u.want(n, "/test/get", "200 <nil>")
}

func TestLoginKillsTheOldCookieEverywhere(t *testing.T) {
	nodes := threeNodes(t)
	u, thief := newUser(t), newUser(t)
	u.want(nodes[0], "/test/inc", "1")
	thief.web.Jar = cloneJar(t, u, nodes)
	u.want(nodes[0], "/test/login", "")
	for _, n := range nodes {
		thief.want(n, "/test/get", "none")
		u.want(n, "/test/get", "1 <nil>")
	}
	u.want(nodes[1], "/test/logout", "")
	for _, n := range nodes {
		u.want(n, "/test/get", "none")
	}
}

func cloneJar(t *testing.T, u *user, nodes []*node) http.CookieJar {
	t.Helper()
	c := newUser(t)
	for _, n := range nodes {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.url+"/test/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		c.web.Jar.SetCookies(r.URL, u.web.Jar.Cookies(r.URL))
	}
	return c.web.Jar
}

func TestTakenPortIsSaid(t *testing.T) {
	l := freeListener(t)
	defer l.Close()
	cfg := testConf("n1")
	cfg.HTTP.Address = l.Addr().String()
	s, err := New(cfg, []webapps.App{testApp()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	err = s.Run(t.Context())
	want := "http.address: listen on " + cfg.HTTP.Address + ": the port is taken by another process; see which with: ss -ltnp 'sport = :"
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s…", err, want)
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
