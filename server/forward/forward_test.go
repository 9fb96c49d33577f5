package forward_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/server/forward"
)

func TestApply(t *testing.T) {
	t.Parallel()
	trust, err := forward.Parse([]string{"10.0.0.0/8", "127.0.0.1", "2001:db8::/32"})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, from string
		fields     string // NAME: VALUE, one a line
		tls        bool
		want       string // address, host, scheme
	}{
		{"nobody in between", "192.0.2.9:1234", "", false, "192.0.2.9:1234 site.example http"},
		{"TLS here", "192.0.2.9:1234", "", true, "192.0.2.9:1234 site.example https"},
		{
			"a stranger's word",
			"192.0.2.9:1234",
			"X-Forwarded-For: 203.0.113.1\nX-Forwarded-Proto: https\nX-Forwarded-Host: evil.example\nForwarded: for=203.0.113.1",
			false,
			"192.0.2.9:1234 site.example http",
		},
		{
			"a proxy's word",
			"10.1.2.3:1234",
			"X-Forwarded-For: 203.0.113.1\nX-Forwarded-Proto: https\nX-Forwarded-Host: shop.example:444",
			false,
			"203.0.113.1:0 shop.example:444 https",
		},
		{"a proxy that says nothing", "10.1.2.3:1234", "", false, "10.1.2.3:1234 site.example http"},
		{"what the user wrote before", "10.1.2.3:1234", "X-Forwarded-For: 1.1.1.1, 203.0.113.1", false, "203.0.113.1:0 site.example http"},
		{
			"several proxies",
			"127.0.0.1:1",
			"X-Forwarded-For: 1.1.1.1, 203.0.113.1, 10.9.9.9\nX-Forwarded-Proto: https",
			false,
			"203.0.113.1:0 site.example https",
		},
		{
			"lines of one list",
			"127.0.0.1:1",
			"X-Forwarded-For: 203.0.113.1\nX-Forwarded-For: 10.9.9.9",
			false,
			"203.0.113.1:0 site.example http",
		},
		{
			"lists that go together",
			"127.0.0.1:1",
			"X-Forwarded-For: 203.0.113.1, 10.9.9.9\nX-Forwarded-Proto: https, http",
			false,
			"203.0.113.1:0 site.example https",
		},
		{"trusted all the way", "127.0.0.1:1", "X-Forwarded-For: 10.0.0.5, 10.9.9.9", false, "10.0.0.5:0 site.example http"},
		{"nonsense ends the way", "127.0.0.1:1", "X-Forwarded-For: unknown, 10.9.9.9", false, "10.9.9.9:0 site.example http"},
		{"with ports", "127.0.0.1:1", "X-Forwarded-For: 203.0.113.1:4711", false, "203.0.113.1:0 site.example http"},
		{"IPv6", "[2001:db8::7]:1", "X-Forwarded-For: 2001:470::1", false, "[2001:470::1]:0 site.example http"},
		{"IPv4 in IPv6", "[::ffff:10.0.0.1]:1", "X-Forwarded-For: ::ffff:203.0.113.1", false, "203.0.113.1:0 site.example http"},
		{
			"RFC 7239",
			"127.0.0.1:1",
			`Forwarded: for=1.1.1.1, for="[2001:470::1]:4711";proto=HTTPS;host="shop.example";by=10.0.0.1`,
			false,
			"[2001:470::1]:0 shop.example https",
		},
		{
			"RFC 7239, quoted",
			"127.0.0.1:1",
			`Forwarded: for=203.0.113.1;host="a\"b,;c";proto=https`,
			false,
			"203.0.113.1:0 site.example https",
		},
		{"RFC 7239, hidden", "127.0.0.1:1", `Forwarded: for=_hidden;proto=https`, false, "127.0.0.1:1 site.example http"},
		{
			"both kinds",
			"127.0.0.1:1",
			"Forwarded: for=1.1.1.1;proto=https\nX-Forwarded-For: 203.0.113.1",
			false,
			"203.0.113.1:0 site.example http",
		},
		{"the scheme alone", "127.0.0.1:1", "X-Forwarded-Proto: https", false, "127.0.0.1:1 site.example https"},
		{"TLS to us, none to the proxy", "127.0.0.1:1", "X-Forwarded-Proto: http", true, "127.0.0.1:1 site.example http"},
		{"no host", "127.0.0.1:1", "X-Forwarded-Host: a b/<script>", false, "127.0.0.1:1 site.example http"},
	}
	for _, c := range tests {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr, r.Host, r.TLS = c.from, "site.example", nil
		if c.tls {
			r.TLS = &tls.ConnectionState{}
		}
		for line := range strings.Lines(c.fields) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			r.Header.Add(name, value)
		}
		r.Header.Set("X-Real-Ip", "6.6.6.6")
		trust.Apply(r)
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		if got := fmt.Sprint(r.RemoteAddr, " ", r.Host, " ", scheme); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		addr, _, _ := net.SplitHostPort(r.RemoteAddr)
		if a, ok := forward.Client(r.Header); ok && a.String() != addr || !ok && r.RemoteAddr != c.from {
			t.Errorf("%s: X-Forwarded-For %v", c.name, a)
		}
		if secure, ok := forward.Secure(r.Header); ok && secure != (scheme == "https") || !ok && c.tls != (r.TLS != nil) {
			t.Errorf("%s: X-Forwarded-Proto: secure %v", c.name, secure)
		}
		if h := r.Header; h.Get("X-Real-Ip")+h.Get("Forwarded")+h.Get("X-Forwarded-Host") != "" {
			t.Errorf("%s: fields that go on: %v", c.name, h)
		}
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	trust, err := forward.Parse([]string{"10.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from  string
		given []string
		taken bool
	}{
		{"10.0.0.1:1", []string{"0af7651916cd43dd-8448.eb21:c80319c/+=@~_"}, true},
		{"192.0.2.1:1", []string{"0af7"}, false},
		{"10.0.0.1:1", []string{"a b"}, false},
		{"10.0.0.1:1", []string{"a", "b"}, false},
		{"10.0.0.1:1", []string{strings.Repeat("a", 129)}, false},
		{"10.0.0.1:1", []string{""}, false},
		{"10.0.0.1:1", nil, false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr, r.Header["X-Request-Id"] = c.from, c.given
		trust.Apply(r)
		id := forward.RequestID(r.Header)
		if taken := len(c.given) == 1 &&
			id == c.given[0]; taken != c.taken || len(id) < 32 || r.Header.Get("X-Request-Id") != id ||
			forward.RequestID(r.Header) != id {
			t.Errorf("from %s %q: %s", c.from, c.given, id)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	if _, err := forward.Parse([]string{"10.0.0.0/8", "proxy.example"}); err == nil ||
		err.Error() != `"proxy.example" is no network: write it as 192.0.2.0/24, 2001:db8::/32, or as one address` {
		t.Error(err)
	}
}

func FuzzApply(f *testing.F) {
	trust, _ := forward.Parse([]string{"127.0.0.0/8"})
	f.Add("1.1.1.1, 2.2.2.2", "https", "a.example", `for="[::1]:1";proto=https`)
	f.Fuzz(func(t *testing.T, fors, proto, host, fwd string) {
		for _, list := range []map[string][]string{
			{"X-Forwarded-For": {fors}, "X-Forwarded-Proto": {proto}, "X-Forwarded-Host": {host}}, {"Forwarded": {fwd}},
		} {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr, r.Header = "127.0.0.1:1", list
			trust.Apply(r)
			if _, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || strings.ContainsAny(r.Host, " \r\n/<>") {
				t.Errorf("%q %q", r.RemoteAddr, r.Host)
			}
		}
	})
}
