package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/nodeserver/nodeserver/server/session"
	"github.com/nodeserver/nodeserver/webapps"
)

func TestMaxSessionsIsA503(t *testing.T) {
	cfg := testConf("n1")
	cfg.Sessions.MaxSessions = 2
	n := startNode(t, cfg, testApp())
	n.waitReady()
	for i := range 4 {
		u := newUser(t)
		status, body, h := u.get(n, "/test/inc")
		want := http.StatusOK
		if i >= 2 {
			want = http.StatusServiceUnavailable
		}
		if status != want {
			t.Errorf("session %d: %d %q", i+1, status, body)
		}
		if i < 2 { // else the next one would take its place
			u.want(n, "/test/get", "1 <nil>")
		}
		if i >= 2 && (h.Get("Retry-After") == "" || !strings.Contains(body, "as many sessions as it may")) {
			t.Errorf("session %d: %q %v", i+1, body, h)
		}
	}
	_, metrics := do(t, "GET", n.admin+"/metrics", nil)
	if !strings.Contains(string(metrics), `nodeserver_session_refused_total{app="test"} 2`) {
		t.Error("the metric does not say 2 refused")
	}
}

// At the limit, a new user is served in place of one who never came back; users stay.
func TestNewcomersAreServedAtTheLimit(t *testing.T) {
	cfg := testConf("n1")
	cfg.Sessions.MaxSessions = 2
	n := startNode(t, cfg, testApp())
	n.waitReady()
	u := newUser(t)
	u.want(n, "/test/inc", "1")
	u.want(n, "/test/inc", "2")
	for range 10 {
		newUser(t).want(n, "/test/inc", "1")
	}
	u.want(n, "/test/inc", "3")
	_, metrics := do(t, "GET", n.admin+"/metrics", nil)
	for _, want := range []string{
		`nodeserver_session_events_total{app="test",event="evicted"} 9`,
		`nodeserver_sessions_new{app="test"} 1`, `nodeserver_sessions{app="test"} 2`,
	} {
		if !strings.Contains(string(metrics), want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

// Where no session can be made, a goroutine of the handler's must not end the
// node, and the handler can't make the user believe that something was saved.
func TestMaxSessionsInAGoroutine(t *testing.T) {
	cfg := testConf("n1")
	cfg.Sessions.MaxSessions = 1
	n := startNode(t, cfg, steps{
		"go": func(w http.ResponseWriter, r *http.Request) {
			done := make(chan error)
			go func() {
				s := webapps.SessionOf(r)
				_ = s.SetPrincipal("ann")
				done <- s.Set("n", 1)
			}()
			if err := <-done; !errors.Is(err, webapps.ErrTooManySessions) {
				t.Errorf("a session over the limit: %v", err)
			}
			s := webapps.SessionOf(r)
			for _, err := range []error{s.ChangeID(), s.Commit(r.Context()), s.Update("n", new(int), func() error { return nil })} {
				if !errors.Is(err, webapps.ErrTooManySessions) {
					t.Errorf("a session over the limit: %v", err)
				}
			}
			if _, ok := webapps.ExistingSession(r); ok {
				t.Error("there is a session")
			}
			fmt.Fprint(w, "saved")
		},
		"again": func(w http.ResponseWriter, r *http.Request) { // its own session counts, until it is gone
			webapps.SessionOf(r).Invalidate()
			fmt.Fprint(w, webapps.SessionOf(r).Set("n", 1) != nil)
		},
	}.app())
	n.waitReady()
	u := newUser(t)
	u.want(n, "/test/inc", "1")
	u.want(n, "/test/get", "1 <nil>")
	status, body, h := newUser(t).get(n, "/test/go")
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "as many sessions as it may") || h["Set-Cookie"] != nil {
		t.Errorf("%d %q %v", status, body, h)
	}
	if status, body, h := u.get(n, "/test/again"); status != http.StatusServiceUnavailable ||
		!strings.Contains(strings.Join(h["Set-Cookie"], ""), "Max-Age=0") {
		t.Errorf("a session in place of its own: %d %q %v", status, body, h)
	}
	u.want(n, "/test/inc", "1")
}

// Clients that never send a cookie back take so much memory, and no more; users stay.
func TestFloodWithoutCookies(t *testing.T) {
	s, r := pipeline(t, nil, testApp())
	a := s.first()
	pair := "NSESSIONID=" + cookieOf(t, s.ask(t, "/test/inc").Header)
	if got := text(t, s.ask(t, "/test/inc", pair)); got != "2" {
		t.Fatal(got)
	}
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	w := &nullWriter{h: http.Header{}}
	for i := range 2 * session.MaxNewcomers {
		if i%4096 == 0 {
			s.tick()
		}
		r.URL.Path = "/test/inc"
		clear(w.h)
		a.ServeHTTP(w, r)
	}
	stats := a.Manager().Stats()
	if grown := heap() - before; stats.Sessions != session.MaxNewcomers+1 || stats.Newcomers != session.MaxNewcomers || grown > 64<<20 {
		t.Errorf("%d sessions, %d of newcomers, the heap is %d MiB larger", stats.Sessions, stats.Newcomers, grown>>20)
	}
	if got := text(t, s.ask(t, "/test/inc", pair)); got != "3" {
		t.Errorf("a user among the flood: %q", got)
	}
	runtime.KeepAlive(s)
}

// A client that has gone gets no session, by HTTP/1 and HTTP/2, whatever its handler does. (One
// that has a session: TestUserWhoIsGone.)
func TestNoSessionForAClientThatIsGone(t *testing.T) {
	in, done := make(chan bool), make(chan bool)
	n := alone(t, func(_ http.ResponseWriter, r *http.Request) {
		s := webapps.SessionOf(r)
		report(t, s.Set("n", 1))
		if r.FormValue("wait") == "" {
			return
		}
		in <- true
		<-r.Context().Done()
		if err := s.Commit(context.WithoutCancel(r.Context())); r.FormValue("commit") != "" && err == nil {
			t.Error("a commit for a client that is gone")
		}
		done <- true
	})
	own := n.server.httpServer()
	h2 := httptest.NewUnstartedServer(own.Handler)
	h2.Config.ConnContext, h2.EnableHTTP2 = own.ConnContext, true
	h2.StartTLS()
	defer h2.Close()
	a := n.server.first()
	for url, c := range map[string]*http.Client{n.url: http.DefaultClient, h2.URL: h2.Client()} {
		for _, path := range []string{"/test/?wait=1", "/test/?wait=1&commit=1"} {
			ctx, cancel := context.WithCancel(t.Context())
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			go func() { <-in; cancel() }()
			if resp, err := c.Do(r); err == nil {
				_ = resp.Body.Close()
				t.Error("answered")
			}
			<-done
		}
		resp, err := c.Get(url + "/test/") // after it, the node has done with the others
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	eventually(t, "the two who stayed", func() bool { return a.Manager().Stats().Created >= 2 })
	if s := a.Manager().Stats(); s.Created != 2 || s.Sessions != 2 {
		t.Errorf("%d sessions made, 2 clients stayed", s.Created)
	}
}

// rapidReset opens streams with a request each and resets each at once (CVE-2023-44487), until the
// server has read all of it or has had enough.
func rapidReset(t *testing.T, addr, path string, streams int) {
	t.Helper()
	c, err := tls.Dial(
		"tcp",
		addr,
		&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}},
	) //nolint:gosec // the test's own server
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	var out, head bytes.Buffer
	out.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&out, c)
	e := hpack.NewEncoder(&head)
	report(t, f.WriteSettings())
	for i := range streams {
		head.Reset()
		for _, h := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "x"}, {":path", path}} {
			report(t, e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}))
		}
		id := uint32(2*i + 1)
		report(t, f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head.Bytes(), EndStream: true, EndHeaders: true}))
		report(t, f.WriteRSTStream(id, http2.ErrCodeCancel))
	}
	report(t, f.WritePing(false, [8]byte{1}))
	go func() { _, _ = c.Write(out.Bytes()) }() // fails when the server has had enough
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		if ping, ok := frame.(*http2.PingFrame); ok && ping.IsAck() {
			return
		}
	}
}

// Requests that are reset with the packet that brings them make next to no session, though their
// handler needs a few microseconds only. Some are committed before the reset is read: a few in a
// thousand on a machine of its own, a tenth and more where others take the processor away in
// between. (Without a look at the reset it is each of them.) A busy server ends the connection after
// some hundreds.
func TestRapidResetMakesNoSessions(t *testing.T) {
	n := startNode(t, testConf("n1"), testApp())
	n.waitReady()
	own := n.server.httpServer()
	h2 := httptest.NewUnstartedServer(own.Handler)
	h2.Config.ConnContext, h2.EnableHTTP2 = own.ConnContext, true
	h2.StartTLS()
	rapidReset(t, h2.Listener.Addr().String(), "/test/inc", 20_000)
	h2.Close() // waits for the handlers
	if made, asked := n.server.manager().Stats().Created, n.server.requests.Load(); asked < 100 || made > asked/2 {
		t.Errorf("%d requests that were reset made %d sessions", asked, made)
	}
}

// connFrom is a connection of which nothing but the other end's address is looked at.
type connFrom struct {
	net.Conn
	remote net.Addr
}

func (c connFrom) RemoteAddr() net.Addr { return c.remote }

// One address begins so many sessions a minute; others, users with a session, and requests
// without one are not concerned.
func TestNewSessionsPerAddress(t *testing.T) {
	s, _ := pipeline(t, func(c *Config) { c.Sessions.NewPerAddress = 3 }, testApp())
	ask := func(addr, path string, cookies ...string) *http.Response {
		from := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 1))
		r := httptest.NewRequestWithContext(
			session.ConnContext(discard())(t.Context(), connFrom{remote: from}), http.MethodGet, path,
			http.NoBody,
		)
		for _, line := range cookies {
			r.Header.Add("Cookie", line)
		}
		w := httptest.NewRecorder()
		s.tick()
		s.httpServer().Handler.ServeHTTP(w, r)
		return w.Result()
	}
	const hasty = "2001:db8::1"
	var pair string
	for i := range 5 {
		r := ask(hasty[:len(hasty)-1]+strconv.Itoa(i+1), "/test/inc")
		if want := http.StatusOK; i < 3 && r.StatusCode != want || i >= 3 && r.StatusCode != http.StatusTooManyRequests {
			t.Errorf("session %d: %d", i+1, r.StatusCode)
		}
		if i == 0 {
			pair = "NSESSIONID=" + cookieOf(t, r.Header)
		}
		if wait, _ := strconv.Atoi(r.Header.Get("Retry-After")); i >= 3 && (wait < 10 || wait > 20 || r.Header["Set-Cookie"] != nil) {
			t.Errorf("session %d: %v", i+1, r.Header)
		}
	}
	for _, c := range []struct {
		addr, path string
		cookies    []string
	}{
		{hasty, "/test/inc", []string{pair}},
		{hasty, "/test/get", nil},
		{"2001:db8:0:1::1", "/test/inc", nil},
		{"192.0.2.1", "/test/inc", nil},
		{"::ffff:192.0.2.2", "/test/inc", nil},
	} {
		if r := ask(c.addr, c.path, c.cookies...); r.StatusCode != http.StatusOK {
			t.Errorf("%s %s: %d", c.addr, c.path, r.StatusCode)
		}
	}
	for range 10 {
		if r := ask("127.0.0.1", "/test/inc"); r.StatusCode != http.StatusOK {
			t.Errorf("loopback: %d", r.StatusCode)
		}
	}
	if got := s.first().Counts().Hasty; got != 2 {
		t.Errorf("%d counted", got)
	}
}

// Three nodes, real streams: a user who comes back within first_inactive, to any node, has a session
// from then on, also where the node that saw it has died; whoever doesn't, has none.
func TestFirstInactiveOnThreeNodes(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		nodes := b.cluster(3, testApp(), func(c *Config) { c.Sessions.FirstInactive = 2 * time.Minute })
		n1, n2, n3 := nodes[0].node, nodes[1].node, nodes[2].node
		never, reader, member := b.user(), b.user(), b.user()
		for _, u := range []*user{never, reader} {
			u.want(n1, "/test/inc", "1")
		}
		member.want(n1, "/test/login", "")
		pass(110 * time.Second)
		reader.want(n2, "/test/get", "1 <nil>")
		pass(time.Second)
		b.crash(nodes[1])
		pass(5 * time.Minute)
		never.want(n1, "/test/get", "none")
		never.want(n3, "/test/get", "none")
		reader.want(n3, "/test/get", "1 <nil>")
		reader.want(n1, "/test/get", "1 <nil>")
		for _, n := range []*node{n1, n3} {
			if s := n.server.manager().Stats(); s.Sessions != 2 || s.Newcomers != 0 {
				t.Errorf("%s: %d sessions, %d of newcomers", n.server.cfg.Node.Name, s.Sessions, s.Newcomers)
			}
		}
		pass(23 * time.Minute)
		member.want(n3, "/test/get", "0 <nil>") // 29 minutes after the login
	})
}
