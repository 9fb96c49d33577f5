package server

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/webapps"
)

// Authors, who import package webapps only, can tell errors apart; what they
// say stays as it is.
func TestErrorsAreToldApart(t *testing.T) {
	t.Parallel()
	app := steps{
		"large": func(_ http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			if err := s.Set("blob", make([]byte, 2<<20)); !errors.Is(err, webapps.ErrTooLarge) || errors.Is(err, webapps.ErrGone) {
				t.Errorf("too large: %v", err)
			}
			s.Invalidate()
			for _, err := range []error{s.Set("n", 1), s.ChangeID(), s.Update("n", new(int), func() error { return nil })} {
				if !errors.Is(err, webapps.ErrGone) || errors.Is(err, webapps.ErrTooLarge) {
					t.Errorf("gone: %v", err)
				}
			}
		},
		"slow": func(_ http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			s.Acks(webapps.AcksAll)
			report(t, s.Set("n", 7))
			if err := s.Commit(r.Context()); !errors.Is(err, webapps.ErrUnacknowledged) {
				t.Errorf("unacknowledged: %v", err)
			}
		},
	}.app()
	n, _, toN2 := pair(t, app, func(c *Config) {
		c.Replication.OnAckTimeout, c.Replication.AckTimeout = "fail", 50*time.Millisecond
	})
	u := newUser(t)
	u.want(n, "/test/large", "")
	u.want(n, "/test/inc", "1")
	toN2.shut()
	u.get(n, "/test/slow")
	toN2.open()
	u.want(n, "/test/get", "7 <nil>") // the write stays
}
