package proxied_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/nodeserver/nodeserver/channel/listen"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/forward"
	"github.com/nodeserver/nodeserver/server/internal/proxied"
)

// serving is the address of a server that answers with the client's address and the host.
func serving(t *testing.T, how config.ProxyProtocol, trusted string) string {
	t.Helper()
	return serve(t, how, trusted).Addr().String()
}

// serve is the listener of such a server.
func serve(t *testing.T, how config.ProxyProtocol, trusted string) listen.Quieter {
	t.Helper()
	ln, err := listen.TCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	trust, err := forward.Parse([]string{trusted})
	if err != nil {
		t.Fatal(err)
	}
	c := config.HTTP{ProxyProtocol: how, ReadHeaderTimeout: time.Minute}
	users := proxied.New(listen.New(ln, listen.Limits{Stall: time.Minute}), c, trust, slog.New(slog.DiscardHandler))
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		trust.Apply(r)
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, r.RemoteAddr, " ", r.Host)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(users) // until it is closed
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return users
}

// Quiet waits for a proxy that has not said yet whose its connection is, and the client is served.
func TestQuietWaitsForProxies(t *testing.T) {
	users := serve(t, config.ProxyRequired, "127.0.0.0/8")
	c, err := net.Dial("tcp", users.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	time.AfterFunc(50*time.Millisecond, func() {
		_, _ = io.WriteString(
			c,
			"PROXY TCP4 203.0.113.1 127.0.0.1 4711 80\r\nGET / HTTP/1.1\r\nHost: site.example\r\n\r\n",
		) // else no answer comes
	})
	users.Quiet(time.Minute)
	_ = users.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil || string(body) != "203.0.113.1:4711 site.example" {
		t.Errorf("%q %v", body, err)
	}
}

// answer sends text on a connection of its own, and returns the last answer; empty: none came.
func answer(t *testing.T, addr, text string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		return ""
	}
	in := bufio.NewReader(c)
	var last string
	for range strings.Count(text, " HTTP/1.1\r\n") {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			return ""
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if last = string(body); res.StatusCode != http.StatusOK {
			return fmt.Sprint(res.StatusCode)
		}
	}
	return last
}

// v1 is version 1's word on a client.
const v1 = "PROXY TCP4 203.0.113.7 192.0.2.1 4711 80\r\n"

func v2(t *testing.T, command proxyproto.ProtocolVersionAndCommand, from string) string {
	t.Helper()
	source, err := net.ResolveTCPAddr("tcp", from)
	if err != nil {
		t.Fatal(err)
	}
	h := proxyproto.HeaderProxyFromAddrs(2, source, source)
	h.Command = command
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestProxyProtocol(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	const post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
	own := "127.0.0.1:"
	for _, c := range []struct {
		name    string
		how     config.ProxyProtocol
		trusted string
		text    string
		want    string // beginning of the answer
	}{
		{"version 1", config.ProxyRequired, "127.0.0.1", v1 + get, "203.0.113.7:4711 a"},
		{
			"version 1, IPv6", config.ProxyRequired, "127.0.0.1", "PROXY TCP6 2001:db8::7 2001:db8::1 4711 80\r\n" + get,
			"[2001:db8::7]:4711 a",
		},
		{"version 1, unknown", config.ProxyRequired, "127.0.0.1", "PROXY UNKNOWN\r\n" + get, own},
		{"version 2", config.ProxyRequired, "127.0.0.1", v2(t, proxyproto.PROXY, "203.0.113.7:4711") + get, "203.0.113.7:4711 a"},
		{"version 2, IPv6", config.ProxyOptional, "127.0.0.1", v2(t, proxyproto.PROXY, "[2001:db8::7]:4711") + get, "[2001:db8::7]:4711 a"},
		{"version 2, the proxy's own", config.ProxyRequired, "127.0.0.1", v2(t, proxyproto.LOCAL, "203.0.113.7:4711") + get, own},
		{"several requests", config.ProxyOptional, "127.0.0.1", v1 + post + post + get, "203.0.113.7:4711 a"},
		{"none, optional", config.ProxyOptional, "127.0.0.1", post + get, own},
		{"none, required", config.ProxyRequired, "127.0.0.1", get, ""},
		{"a stranger's", config.ProxyOptional, "192.0.2.1", v1 + get, "400"},
		{"a stranger's, where trusted proxies must", config.ProxyRequired, "192.0.2.1", v1 + get, "400"},
		{"a stranger without", config.ProxyRequired, "192.0.2.1", get, own},
		{"off", config.ProxyOff, "127.0.0.1", v1 + get, "400"},
		{"off, without", config.ProxyOff, "127.0.0.1", get, own},
		{"broken", config.ProxyOptional, "127.0.0.1", "PROXY TCP4 nonsense\r\n" + get, ""},
		{"twice", config.ProxyOptional, "127.0.0.1", v1 + "PROXY TCP4 6.6.6.6 192.0.2.1 1 80\r\n" + get, "400"},
		{"and what the client says of itself", config.ProxyRequired, "127.0.0.1", v1 +
			strings.Replace(get, "Host: a", "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\nHost: a", 1), "203.0.113.7:4711 a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := answer(t, serving(t, c.how, c.trusted), c.text); !strings.HasPrefix(got, c.want) || (c.want == "") != (got == "") {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// Proxies that say nothing keep nobody waiting.
func TestSilentProxies(t *testing.T) {
	addr := serving(t, config.ProxyRequired, "127.0.0.1")
	for range 50 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if _, err := io.WriteString(c, "PROXY TCP4"); err != nil {
			t.Fatal(err)
		}
	}
	if got := answer(t, addr, v1+"GET / HTTP/1.1\r\nHost: a\r\n\r\n"); got != "203.0.113.7:4711 a" {
		t.Errorf("%q", got)
	}
}
