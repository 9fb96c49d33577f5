package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/webapps"
)

// raw sends text over a fresh connection and returns all that comes back
// until the node closes it, or for a second.
func raw(t *testing.T, n *node, text string) string {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	_, _ = io.WriteString(c, text) // the node may have closed already
	b, _ := io.ReadAll(c)
	return string(b)
}

// TestSmugglingCorpus sends what proxies and servers have taken for one or two
// requests, depending on whom you ask. The node must see one at most. (Both
// Content-Length and chunked is not among them: net/http obeys the latter, as RFC 9112,
// part 6.3, allows, and hides the former from us; what follows is a second request.)
func TestSmugglingCorpus(t *testing.T) {
	served := make(chan string, 100)
	n := alone(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		served <- r.URL.Path
	})
	const second = "GET /test/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	corpus := map[string]string{
		"TE.CL":                  "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"two lengths":            "Content-Length: 0\r\nContent-Length: 43\r\n\r\n" + second,
		"length list":            "Content-Length: 0, 43\r\n\r\n" + second,
		"signed length":          "Content-Length: +0\r\n\r\n" + second,
		"hex length":             "Content-Length: 0x0\r\n\r\n" + second,
		"TE twice":               "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + second,
		"TE xchunked":            "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + second,
		"TE list":                "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + second,
		"TE with vertical tab":   "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n" + second,
		"space before the colon": "Content-Length : 0\r\n\r\n" + second,
		"folded header":          "X: a\r\n Content-Length: 0\r\nContent-Length: 43\r\n\r\n" + strings.Repeat("x", 43),
		"bare CR":                "X: a\rContent-Length: 43\r\n\r\n" + second,
		"NUL":                    "X: a\x00b\r\n\r\n" + second,
		"negative chunk":         "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" + second,
		"huge chunk":             "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + second,
	}
	for name, rest := range corpus {
		answer := raw(t, n, "POST /test/first HTTP/1.1\r\nHost: x\r\n"+rest)
		if strings.Count(answer, "HTTP/1.1 200") > 1 {
			t.Errorf("%s: two answers: %q", name, answer)
		}
	}
	close(served)
	for path := range served {
		if path == "/smuggled" {
			t.Error("a smuggled request was served")
		}
	}
}

func TestSlowlorisIsCutOff(t *testing.T) {
	n := alone(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "fine") })
	conns := make([]net.Conn, 300)
	for i := range conns {
		c, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET /test/ HTTP/1.1\r\nHost: x\r\nX-Slow: "); err != nil {
			t.Fatal(err)
		}
		conns[i] = c
	}
	start := time.Now()
	if _, b := do(t, "GET", n.url+"/test/", nil); string(b) != "fine" || time.Since(start) > time.Second {
		t.Errorf("a request among 300 slow ones: %q after %v", b, time.Since(start))
	}
	for _, c := range conns { // read_header_timeout is 1 s in this test
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := bufio.NewReader(c).ReadByte(); !errors.Is(err, io.EOF) && !isReset(err) {
			t.Fatalf("a slow connection is not closed: %v", err)
		}
	}
}

func isReset(err error) bool { return err != nil && strings.Contains(err.Error(), "reset") }

func TestCookieFloods(t *testing.T) {
	cfg := testConf("n1")
	cfg.HTTP.MaxHeaderBytes = 64 << 10
	n := startNode(t, cfg, writesN(func(w http.ResponseWriter, r *http.Request) {
		_, ok := webapps.ExistingSession(r)
		fmt.Fprint(w, ok)
	}))
	n.waitReady()
	value := strings.Repeat("A", 27) + ".n1"
	for name, cookie := range map[string]string{
		"1000 of ours":       strings.TrimSuffix(strings.Repeat("NSESSIONID="+value+"; ", 1000), "; "),
		"1000 of others":     strings.Repeat("c=v; ", 1000),
		"nameless":           "=;;;=x; NSESSIONID",
		"quoted":             `NSESSIONID="` + value + `"`,
		"overlong":           "NSESSIONID=" + strings.Repeat("A", 5000),
		"not of our letters": "NSESSIONID=" + strings.Repeat("%", 27) + ".n1",
		"binary":             "NSESSIONID=\xff\xfe\x80",
		"foreign":            "NSESSIONID=deadbeef-0000-1111-2222-333344445555.jvm1",
	} {
		resp, b := do(t, "GET", n.url+"/test/", http.Header{"Cookie": {cookie}})
		if resp.StatusCode != http.StatusOK || string(b) != "false" || resp.Header["Set-Cookie"] != nil {
			t.Errorf("%s: %d %q %v", name, resp.StatusCode, b, resp.Header["Set-Cookie"])
		}
	}
	for size, want := range map[int]string{
		60 << 10: "200 OK", 1 << 20: "431 Request Header Fields Too Large",
		8 << 20: "431 Request Header Fields Too Large",
	} {
		answer := raw(
			t,
			n,
			"GET /test/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: NSESSIONID="+strings.Repeat("A", size)+"\r\n\r\n",
		)
		if !strings.HasPrefix(answer, "HTTP/1.1 "+want) && (answer != "" || size <= 1<<20) { // the node may hang up while we send
			t.Errorf("a cookie of %d bytes: %.60q", size, answer)
		}
	}
	if got := n.server.manager().Stats().Sessions; got != 0 {
		t.Errorf("%d sessions made", got)
	}
}

// TestForgedIDsMakeNothing asks one of two nodes with a million ids that nobody issued.
func TestForgedIDsMakeNothing(t *testing.T) {
	n, _, _ := pair(t, writesN(func(_ http.ResponseWriter, r *http.Request) { webapps.ExistingSession(r) }), func(c *Config) {
		c.Sessions.Freshness, c.Sessions.FreshnessWait = "on", 50*time.Millisecond
	})
	a := n.server.first()
	before := a.Manager().Stats()
	var all sync.WaitGroup
	const workers = 4
	for worker := range workers {
		all.Go(func() {
			w := &nullWriter{h: http.Header{}}
			r := httptest.NewRequest(http.MethodGet, "/test/", http.NoBody)
			for i := worker; i < 1_000_000; i += workers {
				r.URL.Path = "/test/"
				r.Header["Cookie"] = []string{"NSESSIONID=" + strconv.Itoa(1e15+i) + "AAAAAAAAAAA.n1"}
				a.ServeHTTP(w, r)
			}
			if w.h["Set-Cookie"] != nil {
				t.Errorf("cookies %v", w.h["Set-Cookie"])
			}
		})
	}
	all.Wait()
	after := a.Manager().Stats()
	if after.Sessions != 0 || after.DeltasOut != before.DeltasOut || after.Asks != before.Asks {
		t.Errorf("%d sessions, %d deltas, %d questions", after.Sessions, after.DeltasOut-before.DeltasOut, after.Asks-before.Asks)
	}
}
