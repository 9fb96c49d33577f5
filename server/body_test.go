package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// A body of known length that is too long is refused before the app hears of
// it; of any other, its reader gets an error where it gets too long.
func TestBodyLimit(t *testing.T) {
	t.Parallel()
	var called atomic.Int64
	cfg := testConf("n1")
	cfg.HTTP.MaxBodyBytes = 1000
	n := startNode(t, cfg, writesN(func(w http.ResponseWriter, r *http.Request) {
		called.Add(1)
		b, err := io.ReadAll(r.Body)
		if over, ok := errors.AsType[*http.MaxBytesError](err); ok {
			http.Error(w, fmt.Sprint("over ", over.Limit), http.StatusRequestEntityTooLarge)
			return
		}
		fmt.Fprint(w, len(b), err)
	}))
	n.waitReady()
	chunk := func(n int) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", n, strings.Repeat("x", n)) }
	for _, c := range []struct {
		head, body, status, text string
		called                   int64
	}{
		{"Content-Length: 1000", strings.Repeat("x", 1000), "200 OK", "1000 <nil>", 1},
		{
			"Content-Length: 1001", "", "413 Request Entity Too Large",
			"the body is 1001 bytes long: this node takes 1000 (http.max_body_bytes)", 0,
		},
		{"Content-Length: 9223372036854775807", "", "413 Request Entity Too Large", "this node takes 1000", 0},
		{"Content-Length: 1001\r\nExpect: 100-continue", "", "413 Request Entity Too Large", "this node takes 1000", 0},
		{"Transfer-Encoding: chunked", chunk(1000), "200 OK", "1000 <nil>", 1},
		{"Transfer-Encoding: chunked", chunk(1001), "413 Request Entity Too Large", "over 1000", 1},
	} {
		called.Store(0)
		answer := raw(t, n, "POST /test/ HTTP/1.1\r\nHost: x\r\n"+c.head+"\r\n\r\n"+c.body)
		head, text, _ := strings.Cut(answer, "\r\n\r\n")
		if !strings.HasPrefix(head, "HTTP/1.1 "+c.status) || !strings.Contains(text, c.text) || called.Load() != c.called {
			t.Errorf("%s: called %d times, answered %q", c.head, called.Load(), answer)
		}
		if refused := !strings.HasPrefix(c.status, "200"); refused != strings.Contains(head, "Connection: close") {
			t.Errorf("%s: %q", c.head, head)
		}
	}
}
