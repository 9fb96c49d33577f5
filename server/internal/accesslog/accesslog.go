// Package accesslog writes a line for each request that a node or a balancer has answered.
//
// No line holds a query, a cookie or any other header of the user: these carry secrets. A line has
// no character that could make it look like two.
package accesslog

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/server/config"
)

// Log writes lines. Nil writes none. Safe for concurrent use.
type Log struct {
	json bool

	mu sync.Mutex
	to io.Writer
}

// New returns a log in the format; nil for none.
func New(format config.AccessLog, to io.Writer) *Log {
	if format != config.AccessCommon && format != config.AccessJSON {
		return nil
	}
	return &Log{json: format == config.AccessJSON, to: to}
}

// Line is one request. Begin makes it; its user sets the exported fields before End.
type Line struct {
	ID      string        // of the request
	Node    string        // that answered; empty: none
	Retries int           // how often it was sent on to another node
	Waited  time.Duration // for the answer's first byte, from the node that answered

	log    *Log
	began  time.Time
	ctx    context.Context //nolint:containedctx // the request's: it tells whether the user has gone
	writer *writer

	client, method, host, path, proto string
}

// Begin notes what the request is like, and returns the writer through which it is to be
// answered. r.RemoteAddr is the user's.
func (l *Log) Begin(w http.ResponseWriter, r *http.Request) (*Line, http.ResponseWriter) {
	client, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		client = r.RemoteAddr
	}
	line := &Line{
		log: l, began: time.Now(), ctx: r.Context(), writer: &writer{ResponseWriter: w},
		client: client, method: short(r.Method, 32), host: short(r.Host, 256), path: short(r.URL.EscapedPath(), 2048), proto: r.Proto,
	}
	return line, line.writer
}

// short cuts texts that users choose, and that may have 64 KiB.
func short(s string, most int) string {
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// gone is the status of a request whose user has not waited for the answer.
const gone = 499

// End writes the line.
func (n *Line) End() {
	status := n.writer.status
	switch {
	case status != 0:
	case n.ctx.Err() != nil:
		status = gone
	default: // net/http will send that
		status = http.StatusOK
	}
	took := time.Since(n.began)
	var text []byte
	if n.log.json {
		text = n.inJSON(status, took)
	} else {
		text = fmt.Appendf(nil, "%s - - [%s] \"%s %s %s\" %d %d %s %d %.6f %.6f %s\n",
			or(n.client), n.began.Format("02/Jan/2006:15:04:05 -0700"), n.method, n.path, n.proto, status, n.writer.bytes,
			or(n.Node), n.Retries, took.Seconds(), n.Waited.Seconds(), or(n.ID))
	}
	n.log.mu.Lock()
	defer n.log.mu.Unlock()
	_, _ = n.log.to.Write(text) // nobody is left to hear of it
}

func or(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (n *Line) inJSON(status int, took time.Duration) []byte {
	micro := func(d time.Duration) json.Number { return json.Number(strconv.FormatFloat(d.Seconds(), 'f', 6, 64)) }
	text, _ := json.Marshal(struct { // texts and numbers only
		Time    time.Time   `json:"time"`
		Client  string      `json:"client"`
		Method  string      `json:"method"`
		Host    string      `json:"host"`
		Path    string      `json:"path"`
		Proto   string      `json:"proto"`
		Status  int         `json:"status"`
		Bytes   int64       `json:"bytes"`
		Node    string      `json:"node"`
		Retries int         `json:"retries"`
		Seconds json.Number `json:"seconds"`
		Waited  json.Number `json:"node_seconds"`
		ID      string      `json:"request_id"`
	}{n.began, n.client, n.method, n.host, n.path, n.proto, status, n.writer.bytes, n.Node, n.Retries, micro(took), micro(n.Waited), n.ID})
	return append(text, '\n')
}

// writer notes the status and the length of an answer.
type writer struct {
	http.ResponseWriter
	status int // 0: not sent yet
	bytes  int64
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Hijack implements http.Hijacker. What the connection is used for then is not counted.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil && w.status == 0 {
		w.status = http.StatusSwitchingProtocols
	}
	return c, rw, err
}

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (w *writer) Write(b []byte) (int, error) {
	w.implied()
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// ReadFrom implements io.ReaderFrom, since files go out without a copy where net/http can do that.
func (w *writer) ReadFrom(r io.Reader) (n int64, err error) {
	w.implied()
	if to, ok := w.ResponseWriter.(io.ReaderFrom); ok {
		n, err = to.ReadFrom(r)
	} else {
		n, err = io.Copy(struct{ io.Writer }{w.ResponseWriter}, r)
	}
	w.bytes += n
	return n, err
}

func (w *writer) implied() {
	if w.status == 0 {
		w.status = http.StatusOK
	}
}
