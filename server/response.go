package server

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// holdBytes is how much of a body is held until the commit. A larger one, or a
// flush, commits first; what is written to the session later is committed
// again at the end.
const holdBytes = 64 << 10

// response holds status and body until the session is committed: the cookie
// must be settled before the first byte, and in modes that wait for acks the
// user shall be told the truth.
//
// It passes on all that net/http's writer can do: Flush, Hijack, ReadFrom, and by
// Unwrap whatever http.ResponseController asks for.
type response struct {
	http.ResponseWriter
	visit *visit // settles session and cookie, once, before the first byte

	status    int
	body      []byte // held; starts in small
	small     [512]byte
	committed bool // session and cookie are settled
	released  bool // the head has gone out: everything passes through
	refused   bool // the commit failed: another answer has gone out instead
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader takes the status. Informational ones pass at once.
func (w *response) WriteHeader(status int) {
	switch {
	case w.refused:
	case w.released || status >= 100 && status < 200 && status != http.StatusSwitchingProtocols:
		w.ResponseWriter.WriteHeader(status)
	case w.status == 0:
		w.status = status
		if status == http.StatusSwitchingProtocols || len(w.Header()["Trailer"]) > 0 {
			w.release()
		}
	}
}

func (w *response) Write(b []byte) (int, error) {
	if w.refused {
		return len(b), nil
	}
	w.implyOK()
	if !w.released && len(w.body)+len(b) <= holdBytes {
		w.body = append(w.body, b...)
		return len(b), nil
	}
	w.release()
	if w.refused {
		return len(b), nil
	}
	return w.ResponseWriter.Write(b)
}

// WriteString saves the copy that Write([]byte(s)) would make.
func (w *response) WriteString(s string) (int, error) {
	w.implyOK()
	if w.released || w.refused || len(w.body)+len(s) > holdBytes {
		return w.Write([]byte(s))
	}
	w.body = append(w.body, s...)
	return len(s), nil
}

// implyOK is the status of a body without one, and a place to hold the body.
func (w *response) implyOK() {
	if w.status == 0 && !w.released {
		w.WriteHeader(http.StatusOK)
	}
	if w.body == nil {
		w.body = w.small[:0]
	}
}

// commit settles session and cookie, once. An error has been told the user.
func (w *response) commit() error {
	if w.committed {
		return nil
	}
	w.committed = true
	err := w.visit.commit(w.Header())
	if err != nil {
		w.released, w.refused, w.body = true, true, nil
		refuse(w.ResponseWriter, err)
	}
	return err
}

// release commits, and lets status and what is held of the body go.
func (w *response) release() {
	if w.released || w.commit() != nil {
		return
	}
	w.released = true
	if w.status != 0 {
		w.ResponseWriter.WriteHeader(w.status)
	}
	if len(w.body) > 0 {
		_, _ = w.ResponseWriter.Write(w.body) // the handler has been told that it was written
		w.body = nil
	}
}

// finish ends the response after the handler has returned. All of a held body
// is known, so its length is told; net/http does that for short ones only.
func (w *response) finish() {
	if !w.released && w.lengthKnown() {
		w.Header()["Content-Length"] = []string{strconv.Itoa(len(w.body))}
	}
	w.release()
}

func (w *response) lengthKnown() bool {
	h := w.Header()
	if len(w.body) <= 2048 || !bodyAllowed(w.status) || h["Content-Length"] != nil || h["Transfer-Encoding"] != nil {
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

// FlushError commits, and sends what there is.
func (w *response) FlushError() error {
	w.release()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush is FlushError for callers that don't know it.
func (w *response) Flush() { _ = w.FlushError() }

// Hijack commits, and hands the connection to the handler. Where that can't be
// had, as with HTTP/2, the handler may still answer.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.status != 0 {
		w.release()
	}
	if err := w.commit(); err != nil {
		return nil, nil, err
	}
	c, b, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.released = w.released || err == nil
	return c, b, err
}

// ReadFrom commits, and lets net/http copy as cheaply as it can.
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	w.implyOK()
	// What is short enough is held like any other body.
	n := int64(0)
	var err error
	if !w.released {
		n, err = io.CopyN(writerOnly{w}, r, int64(holdBytes-len(w.body)))
	}
	if err != nil {
		if err == io.EOF { //nolint:errorlint // CopyN returns io.EOF itself
			err = nil
		}
		return n, err
	}
	w.release()
	if w.refused {
		return n, nil
	}
	m, err := io.Copy(w.ResponseWriter, r)
	return n + m, err
}

// writerOnly hides ReadFrom, which would call itself.
type writerOnly struct{ io.Writer }
