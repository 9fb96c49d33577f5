package balance_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/nodeserver/nodeserver/server/balance"
)

// A balancer that has no descriptor left blames no node: each is there again when it has.
func TestOwnLackIsNoNodesFault(t *testing.T) {
	a, b := newBackend(t, "a"), newBackend(t, "b")
	var lacks atomic.Bool
	dialer := &net.Dialer{Control: func(string, string, syscall.RawConn) error {
		if lacks.Load() {
			return syscall.EMFILE
		}
		return nil
	}}
	d := openWith(t, balance.Config{Dialer: dialer}, fixed(a, b))
	until(t, "nodes are known", func() bool { return d.log.count("node added") == 2 })
	lacks.Store(true)
	for range 5 {
		r, _ := http.NewRequestWithContext(t.Context(), "POST", d.url, strings.NewReader("x"))
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != 503 || res.Header.Get("Retry-After") != "1" ||
			!strings.HasPrefix(string(body), "503: the balancer has too much to do, and can't reach a node") {
			t.Errorf("%d %v %q", res.StatusCode, res.Header, body)
		}
	}
	lacks.Store(false)
	if status, got := d.ask(t, "POST", "x", "s.a"); status != 200 || got != "a x" {
		t.Errorf("%d %q", status, got)
	}
	if s := d.Stats(); s.Downs != 0 || s.Retries[balance.RetryOwn] != 10 {
		t.Errorf("%+v", s)
	}
	if n := d.log.count("lacks descriptors"); n != 1 {
		t.Errorf("5 requests made %d lines", n)
	}
}

// Where ports are left for connections to another node, that one is asked.
func TestOwnLackTowardsOneNode(t *testing.T) {
	a, b := newBackend(t, "a"), newBackend(t, "b")
	dialer := &net.Dialer{Control: func(_, addr string, _ syscall.RawConn) error {
		if addr == a.addr {
			return syscall.EADDRNOTAVAIL
		}
		return nil
	}}
	d := openWith(t, balance.Config{Dialer: dialer}, fixed(a, b))
	until(t, "nodes are known", func() bool { return d.log.count("node added") == 2 })
	for range 10 {
		if status, got := d.ask(t, "POST", "x", "s.a"); status != 200 || got != "b x" {
			t.Errorf("%d %q", status, got)
		}
	}
	if s := d.Stats(); s.Downs != 0 || s.Errors != 0 || s.Retries[balance.RetryOwn] == 0 {
		t.Errorf("%+v", s)
	}
}
