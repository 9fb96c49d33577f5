package balance_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/balance"
	"github.com/nodeserver/nodeserver/server/balance/smuggling"
	"github.com/nodeserver/nodeserver/server/config"
)

// recorder is a node that notes which whole requests reach it.
type recorder struct {
	mu   sync.Mutex
	seen []string
	last http.Header
}

func (c *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the door has broken it off
	}
	text := fmt.Sprintf("%s %s %s", r.Method, r.RequestURI, body)
	c.mu.Lock()
	c.seen, c.last = append(c.seen, text), r.Header
	c.mu.Unlock()
	fmt.Fprint(w, len(body))
}

// take returns what was noted since the last call.
func (c *recorder) take() (list []string, last http.Header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list, c.seen = c.seen, nil
	return list, c.last
}

// raw sends bytes to the door, and reads its answers until the first that is final, and then
// whatever the door still sends before it closes the connection.
func (d *door) raw(t *testing.T, sent smuggling.Case) (statuses string) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(c, sent.Text) // the door may have closed already
	if sent.Ends {
		_ = c.(*net.TCPConn).CloseWrite()
	}
	in := bufio.NewReader(c)
	for status := 0; status < 200; {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			return statuses + " none"
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		status = res.StatusCode
		statuses = strings.TrimSpace(fmt.Sprint(statuses, " ", status))
	}
	_ = c.(*net.TCPConn).CloseWrite()
	_, _ = io.Copy(io.Discard, in)
	return statuses
}

// Whatever a user sends, a node gets what the balancer has understood, and no other request.
func TestSmugglingCorpus(t *testing.T) {
	a, seen := newBackend(t, "a"), new(recorder)
	a.handler = seen
	d := openWith(t, balance.Config{HTTP: config.HTTP{MaxHeaderBytes: 64 << 10}}, fixed(a))
	until(t, "nodes are known", func() bool { return d.log.count("node added") == 1 })
	for _, c := range smuggling.Corpus() {
		// What is over a limit may be cut off before the answer has been read.
		if got := d.raw(t, c); got != c.Status && (c.Status != "431" || got != " none") {
			t.Errorf("%s: %s, want %s", c.Name, got, c.Status)
		}
		got, _ := seen.take()
		if !slices.Equal(got, c.Seen) {
			t.Errorf("%s: the node has seen %q, want %q", c.Name, got, c.Seen)
		}
	}
}

// No field of a user passes for one of ours.
func TestUsersSetNoneOfOurFields(t *testing.T) {
	a, seen := newBackend(t, "a"), new(recorder)
	a.handler = seen
	d := open(t, fixed(a))
	until(t, "nodes are known", func() bool { return d.log.count("node added") == 1 })
	d.raw(t, smuggling.Case{Text: strings.Join([]string{
		"GET /a HTTP/1.1", "Host: x", "X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 7.7.7.7", "x-forwarded-proto: https",
		"X-Forwarded-Host: evil", "Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6", "X-Request-Id: mine", "True-Client-IP: 6.6.6.6",
		"Connection: close, X-Forwarded-For, X-Forwarded-Proto, X-Request-Id", "Proxy-Connection: keep-alive", "TE: trailers, gzip",
	}, "\r\n") + "\r\n\r\n"})
	_, h := seen.take()
	for name, want := range map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "x", "Forwarded": "",
		"X-Real-Ip": "", "True-Client-Ip": "", "Proxy-Connection": "", "Connection": "",
	} {
		if got := strings.Join(h[name], "+"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if id := h["X-Request-Id"]; len(id) != 1 || len(id[0]) != 32 {
		t.Errorf("X-Request-Id: %q", id)
	}
}
