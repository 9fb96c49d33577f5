package bench

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/nodeserver/nodeserver/webapps"
)

// Bounds of the arguments: beyond them a request says 400 rather than tie the
// node up. A session's own size limit is the node's to enforce.
const (
	maxBytes = 4 << 20
	maxFill  = 1_000_000
	maxSleep = 10 * 60 * 1000 // ms
)

func (b *bench) raw(*http.Request) (string, error) {
	return b.line("-", 0), nil
}

func (b *bench) inc(r *http.Request) (string, error) {
	acks, err := level(r)
	if err != nil {
		return "", err
	}
	s := webapps.SessionOf(r)
	if acks != 0 {
		s.Acks(acks)
	}
	n, err := increment(s)
	return b.line(s.ID(), n), err
}

// level is the ack level that the request asks for, 0 for the node's own.
func level(r *http.Request) (webapps.Acks, error) {
	if r.URL.RawQuery == "" {
		return 0, nil
	}
	word := r.FormValue("acks")
	if word == "" {
		return 0, nil
	}
	acks, err := webapps.ParseAcks(word)
	if err != nil {
		return 0, &argError{"acks", word, "async, one, majority or all"}
	}
	return acks, nil
}

// increment goes through Update, so that parallel requests of one session on
// one node lose nothing.
func increment(s *webapps.Session) (n int, err error) {
	err = s.Update("n", &n, func() error {
		n++
		return nil
	})
	return n, err
}

func (b *bench) get(r *http.Request) (string, error) {
	s, ok := webapps.ExistingSession(r)
	if !ok {
		return "none -1 " + b.node + " -1\n", nil
	}
	n, _, err := webapps.Get[int](s, "n")
	if err != nil {
		return "", err
	}
	blob, found, err := webapps.Get[[]byte](s, "blob")
	size := len(blob)
	if !found {
		size = -1
	}
	return s.ID() + " " + strconv.Itoa(n) + " " + b.node + " " + strconv.Itoa(size) + "\n", err
}

func (b *bench) set(r *http.Request) (string, error) {
	n, err := number(r, "n", maxBytes)
	if err != nil {
		return "", err
	}
	s := webapps.SessionOf(r)
	return b.line(s.ID(), n), s.Set("blob", randomBytes(n))
}

func randomBytes(n int) []byte {
	blob := make([]byte, n)
	_, _ = rand.Read(blob) // never fails
	return blob
}

func (b *bench) put(r *http.Request) (string, error) {
	k, v := r.FormValue("k"), r.FormValue("v")
	if k == "" {
		return "", &argError{"k", k, "an attribute's name"}
	}
	s := webapps.SessionOf(r)
	return b.line(s.ID(), len(v)), s.Set(k, v)
}

func (b *bench) all(r *http.Request) (string, error) {
	s, ok := webapps.ExistingSession(r)
	if !ok {
		return b.line("none", -1), nil
	}
	var lines strings.Builder
	for _, name := range s.Names() {
		v, err := text(s, name)
		if err != nil {
			return "", err
		}
		lines.WriteString(name + "=" + v + "\n")
	}
	return lines.String(), nil
}

// text is an attribute as all shows it: every attribute bench writes is a
// string, a number or bytes. Bytes are told apart by their hash.
func text(s *webapps.Session, name string) (string, error) {
	if v, _, err := webapps.Get[string](s, name); err == nil {
		return v, nil
	}
	if n, _, err := webapps.Get[int](s, name); err == nil {
		return strconv.Itoa(n), nil
	}
	blob, _, err := webapps.Get[[]byte](s, name)
	sum := sha256.Sum256(blob)
	return fmt.Sprintf("%d bytes, sha256 %x", len(blob), sum[:8]), err
}

// errNoSessions can only be seen on a host that isn't a node.
var errNoSessions = errors.New("this host does not offer webapps.Sessions")

func (b *bench) fill(r *http.Request) (string, error) {
	n, err := number(r, "n", maxFill)
	if err != nil {
		return "", err
	}
	bytes, err := number(r, "bytes", maxBytes)
	if err != nil {
		return "", err
	}
	if b.sessions == nil {
		return "", errNoSessions
	}
	for i := range n {
		if err := b.fillOne(r, bytes); err != nil {
			return "", fmt.Errorf("fill session %d of %d: %w", i+1, n, err)
		}
	}
	return b.line("-", n), nil
}

func (b *bench) fillOne(r *http.Request, bytes int) error {
	if err := r.Context().Err(); err != nil {
		return err
	}
	s, err := b.sessions.NewSession()
	if err != nil {
		return err
	}
	if err := s.Set("blob", randomBytes(bytes)); err != nil {
		return err
	}
	return s.Commit(r.Context())
}

func (b *bench) count(*http.Request) (string, error) {
	if b.sessions == nil {
		return "", errNoSessions
	}
	return b.line("-", b.sessions.SessionCount()), nil
}

func (b *bench) invalidate(r *http.Request) (string, error) {
	s, ok := webapps.ExistingSession(r)
	if !ok {
		return b.line("none", -1), nil
	}
	sid := s.ID()
	s.Invalidate()
	return b.line(sid, 0), nil
}

func (b *bench) changeID(r *http.Request) (string, error) {
	s, ok := webapps.ExistingSession(r)
	if !ok {
		return b.line("none", -1), nil
	}
	if err := s.ChangeID(); err != nil {
		return "", err
	}
	n, _, err := webapps.Get[int](s, "n")
	return b.line(s.ID(), n), err
}

func (b *bench) slow(r *http.Request) (string, error) {
	ms, err := number(r, "ms", maxSleep)
	if err != nil {
		return "", err
	}
	s := webapps.SessionOf(r)
	n, err := increment(s)
	if err != nil {
		return "", err
	}
	rest := time.NewTimer(time.Duration(ms) * time.Millisecond)
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-r.Context().Done(): // the user has gone
	case <-b.done: // the node stops
	}
	return b.line(s.ID(), n), nil
}
