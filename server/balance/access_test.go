package balance_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/server/balance"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/forward"
)

// accessLine is what the tests read of a line.
type accessLine struct {
	Client, Path, Node string
	Status, Retries    int
	Bytes              int64
	ID                 string  `json:"request_id"`
	Seconds            float64 `json:"seconds"`
	Waited             float64 `json:"node_seconds"`
}

func (l *lines) access(t *testing.T) (list []accessLine) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for text := range strings.Lines(l.text.String()) {
		var line accessLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		list = append(list, line)
	}
	return list
}

// The log says which node answered, after how many retries, and under which id that node knows
// the request; and nothing that lets anybody take a session over.
func TestAccessLog(t *testing.T) {
	a, b := newBackend(t, "a"), newBackend(t, "b")
	b.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			w.Header().Set("Upgrade", "echo")
			w.Header().Set("Connection", "Upgrade")
			w.WriteHeader(http.StatusSwitchingProtocols)
			return
		}
		_, _ = io.WriteString(w, r.Header.Get("X-Request-Id"))
	})
	log := new(lines)
	trust, err := forward.Parse([]string{"127.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	d := openWith(t, balance.Config{Access: log, Trust: trust, HTTP: config.HTTP{AccessLog: config.AccessJSON}}, fixed(a, b))
	until(t, "nodes are known", func() bool { return d.log.count("node added") == 2 })
	a.kill()

	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, d.url+"/shop/?token=hidden", nil)
	r.Header.Set("X-Request-Id", "from-the-proxy")
	r.Header.Set("X-Forwarded-For", "203.0.113.7")
	r.AddCookie(&http.Cookie{Name: "NSESSIONID", Value: "hidden.a"})
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	told, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	_, made := fetch(t, d.url+"/shop/", "hidden.b")

	c, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = fmt.Fprint(c, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(res, err)
	}
	_ = c.Close()

	b.kill()
	_, _ = fetch(t, d.url+"/shop/")
	until(t, "all lines", func() bool { return log.count("\n") == 4 })
	lines := log.access(t)
	first, second, third, fourth := lines[0], lines[1], lines[2], lines[3]
	if third.Status != http.StatusSwitchingProtocols { // ends when the node hears of it
		third, fourth = fourth, third
	}
	if string(told) != "from-the-proxy" || first.ID != "from-the-proxy" || first.Client != "203.0.113.7" || first.Path != "/shop/" ||
		first.Node != "b" ||
		first.Status != 200 || first.Retries != 1 || first.Bytes != int64(len(told)) || first.Waited <= 0 ||
		first.Seconds < first.Waited {
		t.Errorf("a retry: %+v, its node was told %q", first, told)
	}
	if len(made) != 32 || second.ID != made || second.Node != "b" || second.Retries != 0 || second.Client != "127.0.0.1" {
		t.Errorf("no proxy in front: %+v, its node was told %q", second, made)
	}
	if third.Status != http.StatusSwitchingProtocols || third.Path != "/ws" {
		t.Errorf("a WebSocket: %+v", third)
	}
	if fourth.Status != http.StatusServiceUnavailable || fourth.Node != "" || fourth.ID == made {
		t.Errorf("nobody left: %+v", fourth)
	}
	if log.count("hidden") != 0 {
		t.Error("the log has a session id or a query")
	}
}
