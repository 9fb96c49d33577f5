package session

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/forward"
	"github.com/nodeserver/nodeserver/webapps"
)

// lone is an app of a node that has no other members and does not run: it is asked, nothing
// else.
type lone struct {
	*App
	start time.Time
}

// Serves implements Members.
func (lone) Serves(_, route string) bool { return route == "n1" }

// Wake implements deltamanager.Group.
func (lone) Wake(membership.ID, bool, bool) {}

func newLone() lone {
	l := lone{start: time.Now()}
	l.App = New(Config{
		App: "test", Path: "/test/", Node: "n1", Cookie: "NSESSIONID", Freshness: true,
		Sessions: deltamanager.Config{
			Self: membership.ID{
				Name:        "n1",
				Incarnation: 1,
			},
			Limits:           deltamanager.Limits{MaxInactive: time.Minute, MaxBytes: 1 << 20},
			FreshnessWait:    time.Millisecond,
			ChangeLogEntries: 100,
			Heartbeat:        time.Second,
			RepairInterval:   time.Minute,
			JoinTimeout:      time.Second,
			Rand:             rand.Reader,
		},
	}, l, l, slog.New(slog.DiscardHandler))
	return l
}

// ask has a handler answer that knows /get, which looks for a session and says what it
// counts, and /inc, which counts in it.
func (l lone) ask(t *testing.T, path, cookies string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
	r.Header["Cookie"] = []string{cookies}
	w := httptest.NewRecorder()
	l.manager.Settle()
	l.manager.Core.Tick(time.Since(l.start)) // else it took a slow machine for a pause of the node
	l.Serve(time.Now(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/get" {
			if s, ok := webapps.ExistingSession(r); ok {
				n, _, err := webapps.Get[int](s, "n")
				fmt.Fprint(w, n, err)
				return
			}
			fmt.Fprint(w, "none")
			return
		}
		var n int
		if err := webapps.SessionOf(r).Update("n", &n, func() error { n++; return nil }); err != nil {
			t.Error(err)
		}
		fmt.Fprint(w, n)
	}), w, r)
	return w
}

// A stranger's token must not move a node's clock: not far, so that members with a
// slower one refuse what it sends, and not at all.
func TestForgedTokensLeaveTheClockAlone(t *testing.T) {
	a := newLone()
	forged := func(ahead time.Duration) string {
		h := http.Header{}
		clock := uint64(time.Now().Add(ahead).UnixMilli()) << 16
		a.setTokens(h, []deltamanager.Token{{Name: "n2", Stamp: deltamanager.Stamp{Clock: clock, Incarnation: 12345}}})
		pair, _, _ := strings.Cut(h.Get("Set-Cookie"), ";")
		return pair
	}
	refused := int64(0)
	for _, ahead := range []time.Duration{deltamanager.MaxAhead - time.Second, deltamanager.MaxAhead, 1000 * deltamanager.MaxAhead, time.Hour - time.Minute, 3 * time.Second} {
		a.ask(t, "/test/get", "NSESSIONID="+strings.Repeat("A", 27)+"; "+forged(ahead))
		for _, c := range a.ask(t, "/test/inc", "").Result().Cookies() {
			if token, ok := parseToken(c.Name, c.Value); ok && time.Until(time.UnixMilli(int64(token.Stamp.Clock>>16))) > time.Second {
				t.Errorf("a token %v ahead: the node now stamps %v", ahead, time.UnixMilli(int64(token.Stamp.Clock>>16)))
			}
		}
		refused++
		if got := a.manager.Stats().TokensRefused; got != refused {
			t.Errorf("a token %v ahead: %d are counted as refused, want %d", ahead, got, refused)
		}
	}
}

func (l lone) setTokens(h http.Header, tokens []deltamanager.Token) {
	(&visit{app: l.App}).setTokens(h, tokens)
}

// A client is known by its address: of IPv6 the network, behind a trusted proxy what the proxy says.
func TestAsker(t *testing.T) {
	trust, err := forward.Parse([]string{"127.0.0.0/8", "::1"})
	if err != nil {
		t.Fatal(err)
	}
	asker := func(remote string, forwarded ...string) uint64 {
		from, _ := netip.ParseAddr(remote)
		ctx := context.WithValue(t.Context(), connectionKey{}, &connection{remote: from})
		r := &http.Request{RemoteAddr: netip.AddrPortFrom(from, 1).String(), Header: http.Header{}}
		if len(forwarded) > 0 {
			r.Header["X-Forwarded-For"] = forwarded
		}
		trust.Apply(r)
		return (&visit{ctx: ctx, header: r.Header}).Asker()
	}
	for _, c := range []struct {
		what string
		a, b uint64
		same bool
	}{
		{"one address", asker("192.0.2.1"), asker("192.0.2.1"), true},
		{"two addresses", asker("192.0.2.1"), asker("192.0.2.2"), false},
		{"one network", asker("2001:db8::1"), asker("2001:db8::ffff:2"), true},
		{"two networks", asker("2001:db8::1"), asker("2001:db8:0:1::1"), false},
		{"IPv4 in IPv6", asker("::ffff:192.0.2.1"), asker("192.0.2.1"), true},
		{"what a stranger says", asker("192.0.2.1", "192.0.2.7"), asker("192.0.2.1", "192.0.2.8"), true},
		{"what a proxy here says", asker("127.0.0.1", "192.0.2.7"), asker("192.0.2.7"), true},
		{"what a stranger told a proxy here", asker("::1", "192.0.2.9", "192.0.2.8, 192.0.2.7"), asker("192.0.2.7"), true},
		{"a proxy that says nonsense", asker("127.0.0.1", "x"), asker("127.0.0.1"), true},
	} {
		if (c.a == c.b) != c.same {
			t.Errorf("%s: the same: %v", c.what, !c.same)
		}
	}
}

func TestTokensComeBack(t *testing.T) {
	a := newLone()
	want := deltamanager.Token{
		Name:  "a-b_c.n2",
		Stamp: deltamanager.Stamp{Clock: 1<<63 + 5, Incarnation: 1<<64 - 1},
		MAC:   deltamanager.MAC{1, 2, 3, 4, 5, 6, 7, 255},
	}
	two := want
	two.Other = deltamanager.MAC{8, 7, 6, 5, 4, 3, 2, 255}
	var c []*http.Cookie
	for _, want := range []deltamanager.Token{two, want} {
		h := http.Header{}
		a.setTokens(h, []deltamanager.Token{want})
		if c = (&http.Response{Header: h}).Cookies(); len(c) != 1 {
			t.Fatal(h)
		}
		if got, ok := parseToken(c[0].Name, c[0].Value); !ok || got != want {
			t.Errorf("%v %+v, want %+v", ok, got, want)
		}
	}
	value := c[0].Value
	for _, bad := range [][2]string{
		{"NSV", value},
		{"nsv-n1", value},
		{"NSESSIONID", value},
		{"NSV-n1", ""},
		{"NSV-n1", value[1:]},
		{"NSV-n1", value + "A"},
		{"NSV-n1", strings.Repeat("%", tokenText)},
		{"NSV-n1", value[:tokenText*2/3]},
		{"NSV-n1", "\n" + value[1:]},
	} {
		if got, ok := parseToken(bad[0], bad[1]); ok {
			t.Errorf("%q is taken for %+v", bad, got)
		}
	}
}

// FuzzCookies: whatever is in a Cookie header, a request is answered, no session
// is made, and what is taken for a token can be written again.
func FuzzCookies(f *testing.F) {
	id := strings.Repeat("A", 27)
	for _, s := range []string{
		"", "NSESSIONID=" + id + ".n1", `NSESSIONID="` + id + `"; a=b`, "NSV-n1=" + strings.Repeat("A", tokenText), "NSV-n1=" + strings.Repeat("_", tokenText) + "; NSESSIONID=" + id,
		";;;=;", "NSESSIONID", "NSESSIONID=" + id + "..", "NSV-=" + strings.Repeat("B", tokenText) + ";NSV-\x00=" + strings.Repeat("C", tokenText),
	} {
		f.Add(s)
	}
	a := newLone()
	f.Fuzz(func(t *testing.T, line string) {
		w := a.ask(t, "/test/get", line)
		if w.Code != http.StatusOK || w.Body.String() != "none" || w.Header()["Set-Cookie"] != nil {
			t.Errorf("%q: %d %q %v", line, w.Code, w.Body, w.Header())
		}
		eachCookie(http.Header{"Cookie": {line}}, func(name, value string) {
			if strings.ContainsAny(name+value, ";") || name != strings.Trim(name, " \t") {
				t.Errorf("a cookie %q=%q in %q", name, value, line)
			}
			if id, route, ok := splitID(value); ok && !strings.HasPrefix(value, id) || len(route) > maxCookie {
				t.Errorf("%q is taken for %q and %q", value, id, route)
			}
			token, ok := parseToken(name, value)
			if !ok {
				return
			}
			h := http.Header{}
			a.setTokens(h, []deltamanager.Token{token})
			set, _, _ := strings.Cut(h.Get("Set-Cookie"), ";")
			again, v, _ := strings.Cut(set, "=")
			if got, ok := parseToken(again, v); ok && got != token {
				t.Errorf("%+v becomes %+v", token, got)
			}
		})
	})
}
