package session

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nodeserver/nodeserver/webapps"
)

// holdBytes is how much of a body is held until the commit. A larger one, or a
// flush, commits first; what is written to the session later is committed
// again at the end.
const holdBytes = 64 << 10

// response holds status and body until the session is committed: the cookie
// must be settled before the first byte, and in modes that wait for acks the
// user shall read the truth.
//
// It passes on all that net/http's writer can do: Flush, Hijack, ReadFrom, and by
// Unwrap whatever http.ResponseController asks for. Each belongs to one request and is
// never used for another: a goroutine that writes after its handler has returned
// gets an error, and no other user gets what it wrote.
type response struct {
	app   *App
	visit atomic.Pointer[visit] // nil: the request has not asked for its session
	// recovered: the handler's panic was recovered by the app, which has answered 5xx.
	recovered atomic.Bool

	mu        sync.Mutex
	under     http.ResponseWriter // net/http's; closedWriter when the request is over
	held      *body               // of the body; nil: nothing yet
	status    int
	committed bool // session and cookie are settled
	released  bool // the head has gone out: everything passes through
	refused   bool // the commit failed: another answer has gone out instead
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.under
}

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header { return w.Unwrap().Header() }

// WriteHeader takes the status. Informational ones pass at once.
func (w *response) WriteHeader(status int) {
	if status >= http.StatusInternalServerError && webapps.Recovering() {
		w.recovered.Store(true) // before the visit is looked for: source does it the other way round
		if v := w.visit.Load(); v != nil {
			v.Discard()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(status)
}

func (w *response) writeHeader(status int) {
	switch {
	case w.refused:
	case w.released || status >= 100 && status < 200 && status != http.StatusSwitchingProtocols:
		w.under.WriteHeader(status)
	case w.status == 0:
		w.status = status
		if status == http.StatusSwitchingProtocols || len(w.under.Header()["Trailer"]) > 0 {
			w.release()
		}
	}
}

func (w *response) Write(b []byte) (int, error) {
	w.mu.Lock()
	if hold(w, b) {
		w.mu.Unlock()
		return len(b), nil
	}
	under := w.under
	w.mu.Unlock()
	return under.Write(b) // may wait for the user: others need not
}

// WriteString saves the copy that Write([]byte(s)) would make.
func (w *response) WriteString(s string) (int, error) {
	w.mu.Lock()
	if hold(w, s) {
		w.mu.Unlock()
		return len(s), nil
	}
	under := w.under
	w.mu.Unlock()
	return io.WriteString(under, s)
}

// hold takes a piece of the body, if it is to be held or dropped; else the head
// has gone out. Called with w.mu held.
func hold[T []byte | string](w *response, piece T) bool {
	if w.refused {
		return true
	}
	if w.released {
		return false
	}
	if w.status == 0 {
		w.writeHeader(http.StatusOK)
	}
	if !w.released && w.length()+len(piece) <= holdBytes {
		if w.held == nil {
			w.held = w.app.bodies.get()
		}
		w.held.bytes = append(w.held.bytes, piece...)
		return true
	}
	w.release()
	return w.refused
}

func (w *response) length() int {
	if w.held == nil {
		return 0
	}
	return len(w.held.bytes)
}

// commit settles session and cookie, once. The answer has said an error to the user.
func (w *response) commit() error {
	if w.committed {
		return nil
	}
	w.committed = true
	v := w.visit.Load()
	if v == nil {
		return nil
	}
	err := v.commit(w.under.Header())
	if err != nil {
		w.released, w.refused = true, true
		w.status = refuse(w.under, err)
	}
	return err
}

// release commits, and lets status and what is held of the body go. Called with
// w.mu held.
func (w *response) release() {
	if w.released || w.commit() != nil {
		return
	}
	w.released = true
	if w.status != 0 {
		w.under.WriteHeader(w.status)
	}
	if w.length() > 0 {
		_, _ = w.under.Write(w.held.bytes) // the handler believes that it was written
	}
}

// finish ends the response after the handler has returned. All of a held body
// is known, so the answer has its length; net/http does that for short ones only. It returns the
// status, 0 where nothing was said.
func (w *response) finish() (status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.shut()
	if !w.released && w.lengthKnown() {
		w.under.Header()["Content-Length"] = []string{strconv.Itoa(w.length())}
	}
	w.release()
	return w.status
}

func (w *response) lengthKnown() bool {
	h := w.under.Header()
	if w.length() <= 2048 || !bodyAllowed(w.status) || h["Content-Length"] != nil || h["Transfer-Encoding"] != nil {
		return false
	}
	for name := range h {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			return false
		}
	}
	return true
}

func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// replace answers in place of the app, if nothing has gone out yet. It reports
// whether the user has a whole answer.
func (w *response) replace(text string, status int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.released {
		w.released, w.refused = true, true
		answer(w.under, text, status)
	}
	return w.refused
}

// discard drops what the handler has written to the session and not committed,
// and tells the user what was. A Flush that has begun is waited for.
func (w *response) discard() {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := w.visit.Swap(nil)
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.discard()
	if !w.released {
		v.settleCookie(w.under.Header())
	}
}

// close is shut for whatever ways there are out of the pipeline.
func (w *response) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shut()
}

// shut ends the response's use: what comes later comes too late. Called with
// w.mu held.
func (w *response) shut() {
	w.app.bodies.put(w.held)
	w.under, w.held, w.committed, w.released, w.refused = closedWriter{}, nil, true, true, false
}

// closedWriter is written to by goroutines whose request is over.
type closedWriter struct{}

var errClosed = errors.New("write an answer: its request is over")

func (closedWriter) Header() http.Header       { return http.Header{} }
func (closedWriter) Write([]byte) (int, error) { return 0, errClosed }
func (closedWriter) WriteHeader(int)           {}

// FlushError commits, and sends what there is.
func (w *response) FlushError() error {
	w.mu.Lock()
	w.release()
	under := w.under
	w.mu.Unlock()
	return http.NewResponseController(under).Flush()
}

// Flush is FlushError for callers that don't know it.
func (w *response) Flush() { _ = w.FlushError() }

// Hijack commits, and hands the connection to the handler. Where that can't be
// had, as with HTTP/2, the handler may still answer.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.status != 0 {
		w.release()
	}
	if err := w.commit(); err != nil {
		return nil, nil, err
	}
	c, b, err := http.NewResponseController(w.under).Hijack()
	w.released = w.released || err == nil
	if err == nil && w.status == 0 {
		w.status = http.StatusSwitchingProtocols // whatever the handler says there
	}
	return c, b, err
}

// ReadFrom commits, and lets net/http copy as cheaply as it can.
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	// What is short enough is held like any other body.
	n, err := io.CopyN(writerOnly{w}, r, w.room())
	if err != nil {
		if err == io.EOF { //nolint:errorlint // CopyN returns io.EOF itself
			err = nil
		}
		return n, err
	}
	w.mu.Lock()
	w.release()
	under, refused := w.under, w.refused
	w.mu.Unlock()
	if refused {
		return n, nil
	}
	m, err := io.Copy(under, r)
	return n + m, err
}

// room is how much more of a body is held.
func (w *response) room() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.status == 0 && !w.released {
		w.writeHeader(http.StatusOK)
	}
	if w.released {
		return 0
	}
	return int64(holdBytes - w.length())
}

// writerOnly hides ReadFrom, which would call itself.
type writerOnly struct{ io.Writer }

// responses makes responses, many at a time: none is ever used again, so that
// is all there is to save.
type responses struct{ pool sync.Pool }

type batch struct {
	used int
	all  [16]response
}

func (p *responses) get() *response {
	b, _ := p.pool.Get().(*batch)
	if b == nil {
		b = new(batch)
	}
	w := &b.all[b.used]
	if b.used++; b.used < len(b.all) {
		p.pool.Put(b)
	}
	return w
}

// body is a held one.
type body struct {
	bytes []byte
	small [2 << 10]byte // what bytes begins as
}

// bodies keeps bodies for the next requests, without what they have grown by.
type bodies struct{ pool sync.Pool }

func (p *bodies) get() *body {
	b, _ := p.pool.Get().(*body)
	if b == nil {
		b = new(body)
	}
	b.bytes = b.small[:0]
	return b
}

func (p *bodies) put(b *body) {
	if b != nil {
		b.bytes = nil
		p.pool.Put(b)
	}
}
