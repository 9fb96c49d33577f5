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
// whatever the door still sends before it closes the connection. A $ at the end stands for the
// end of what the user sends.
func (d *door) raw(t *testing.T, text string) (statuses string) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	text, ends := strings.CutSuffix(text, "$")
	_, _ = io.WriteString(c, text) // the door may have closed already
	if ends {
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

const smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

// corpus is what some programs take for one request and others for two, or for one with other
// fields. Each begins after "POST /a HTTP/1.1\r\nHost: x\r\n"; those that begin with ^, at the very start.
var corpus = []struct {
	name, text string
	status     string   // of the answers, up to the final one
	seen       []string // by the node
}{
	{"CL.TE", "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", "200", []string{"POST /a "}},
	{"TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "200", []string{"POST /a hello"}},
	{
		"TE.CL, a request in the chunk",
		"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n23\r\n" + smuggled + "\r\n0\r\n\r\n",
		"200",
		[]string{"POST /a " + smuggled},
	},
	{"TE.TE", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + smuggled, "501", nil},
	{"TE.TE, in one line", "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + smuggled, "501", nil},
	{"TE.TE, both chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, "501", nil},
	{"TE of another name", "Transfer-Encoding: xchunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + smuggled, "501", nil},
	{"TE with a space before its colon", "Transfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + smuggled, "400", nil},
	{"TE with a tab", "Transfer-Encoding:\tchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "200", []string{"POST /a hello"}},
	{"TE with a vertical tab", "Transfer-Encoding: \x0bchunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + smuggled, "400", nil},
	{
		"TE of HTTP/1.0",
		"^POST /a HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"200",
		[]string{"POST /a "},
	},
	{"two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello" + smuggled, "400", nil},
	{"two lengths in one line", "Content-Length: 5, 5\r\n\r\nhello" + smuggled, "400", nil},
	{"the same length twice", "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "200", []string{"POST /a hello"}},
	{"a length with a sign", "Content-Length: +5\r\n\r\nhello" + smuggled, "400", nil},
	{"a negative length", "Content-Length: -5\r\n\r\nhello" + smuggled, "400", nil},
	{"a length in hex", "Content-Length: 0x5\r\n\r\nhello" + smuggled, "400", nil},
	{"a length beyond the body", "Content-Length: 50\r\n\r\nhello$", "400", nil},
	{"a request as a body", "Content-Length: 35\r\n\r\n" + smuggled, "200", []string{"POST /a " + smuggled}},
	{"doubled Host", "Host: y\r\n\r\n" + smuggled, "400", nil},
	{"no Host", "^GET /a HTTP/1.1\r\n\r\n" + smuggled, "400", nil},
	{"Host with a path", "^GET /a HTTP/1.1\r\nHost: x/y\r\n\r\n" + smuggled, "400", nil},
	{"Host with a space", "^GET /a HTTP/1.1\r\nHost: x y\r\n\r\n" + smuggled, "400", nil},
	{"another host in the target", "^GET http://y/a HTTP/1.1\r\nHost: x\r\n\r\n", "200", []string{"GET /a "}},
	{"obs-fold", "X-Fold: one\r\n two\r\nContent-Length: 5\r\n\r\nhello", "200", []string{"POST /a hello"}},
	{"obs-fold that hides a length", "X-Fold: one\r\n Content-Length: 5\r\n\r\n", "200", []string{"POST /a "}},
	{"obs-fold of the first field", "^GET /a HTTP/1.1\r\n Host: x\r\n\r\n" + smuggled, "400", nil},
	{"bare LF", "^POST /a HTTP/1.1\nHost: x\nContent-Length: 5\n\nhello", "200", []string{"POST /a hello"}},
	{"bare LF in a chunk", "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", "400", nil},
	{"bare CR in a field", "X-A: b\rContent-Length: 5\r\n\r\n" + smuggled, "400", nil},
	{"nul in a field", "X-A: b\x00c\r\n\r\n" + smuggled, "400", nil},
	{"nul in a name", "X-\x00A: b\r\n\r\n" + smuggled, "400", nil},
	{"nul in the target", "^GET /a\x00b HTTP/1.1\r\nHost: x\r\n\r\n" + smuggled, "400", nil},
	{"a space in the target", "^GET /a b HTTP/1.1\r\nHost: x\r\n\r\n" + smuggled, "400", nil},
	{"a field without a colon", "X-A\r\n\r\n" + smuggled, "400", nil},
	{"a field without a name", ": b\r\n\r\n" + smuggled, "400", nil},
	{"a line break in the target", "^GET /a%0d%0aHost:%20y HTTP/1.1\r\nHost: x\r\n\r\n", "200", []string{"GET /a%0d%0aHost:%20y "}},
	{"200 kB of fields", strings.Repeat("X-A: "+strings.Repeat("b", 995)+"\r\n", 200) + "\r\n" + smuggled, "431", nil},
	{"200 kB of one field", "X-A: " + strings.Repeat("b", 200_000) + "\r\n\r\n" + smuggled, "431", nil},
	{"200 kB of a target", "^GET /" + strings.Repeat("b", 200_000) + " HTTP/1.1\r\nHost: x\r\n\r\n" + smuggled, "431", nil},
	{"Expect", "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", "100 200", []string{"POST /a hello"}},
	{"Expect in capitals", "Expect: 100-CONTINUE\r\nContent-Length: 5\r\n\r\nhello", "100 200", []string{"POST /a hello"}},
	{"Expect without a body", "Expect: 100-continue\r\n\r\n", "200", []string{"POST /a "}},
	{"Expect of something else", "Expect: 200-ok\r\nContent-Length: 5\r\n\r\nhello", "417", nil},
	{"a chunk's size that is none", "Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n", "400", nil},
	{"a chunk's size with a sign", "Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", "400", nil},
	{"a chunk's size beyond 64 bits", "Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n", "400", nil},
	{"a chunk longer than its size", "Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n", "400", nil},
	{"chunks without an end", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n$", "400", nil},
	{
		"a trailer that is a length",
		"Transfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
		"400",
		nil,
	},
	{"HTTP/0.9", "^GET /a\r\n", "400", nil},
	{"HTTP/2 without TLS", "^PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400", nil},
	{"CONNECT", "^CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n" + smuggled, "400", nil},
}

// Whatever a user sends, a node gets what the balancer has understood, and no other request.
func TestSmugglingCorpus(t *testing.T) {
	a, seen := newBackend(t, "a"), new(recorder)
	a.handler = seen
	d := openWith(t, balance.Config{HTTP: config.HTTP{MaxHeaderBytes: 64 << 10}}, fixed(a))
	until(t, "nodes are known", func() bool { return d.log.count("node added") == 1 })
	for _, c := range corpus {
		text, whole := strings.CutPrefix(c.text, "^")
		if !whole {
			text = "POST /a HTTP/1.1\r\nHost: x\r\n" + text
		}
		// What is over a limit may be cut off before the answer has been read.
		if got := d.raw(t, text); got != c.status && (c.status != "431" || got != " none") {
			t.Errorf("%s: %s, want %s", c.name, got, c.status)
		}
		got, _ := seen.take()
		if !slices.Equal(got, c.seen) {
			t.Errorf("%s: the node has seen %q, want %q", c.name, got, c.seen)
		}
	}
}

// No field of a user passes for one of ours.
func TestUsersSetNoneOfOurFields(t *testing.T) {
	a, seen := newBackend(t, "a"), new(recorder)
	a.handler = seen
	d := open(t, fixed(a))
	until(t, "nodes are known", func() bool { return d.log.count("node added") == 1 })
	d.raw(t, strings.Join([]string{
		"GET /a HTTP/1.1", "Host: x", "X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 7.7.7.7", "x-forwarded-proto: https",
		"X-Forwarded-Host: evil", "Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6", "X-Request-Id: mine", "True-Client-IP: 6.6.6.6",
		"Connection: close, X-Forwarded-For, X-Forwarded-Proto, X-Request-Id", "Proxy-Connection: keep-alive", "TE: trailers, gzip",
	}, "\r\n")+"\r\n\r\n")
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
