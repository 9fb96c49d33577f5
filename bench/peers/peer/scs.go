package peer

import (
	"net/http"
	"time"

	"github.com/alexedwards/scs/v2"
)

// SCS is scs over one of its stores, otherwise as it comes: gob, 24 hours, no
// idle timeout (which would make every read a write).
type SCS struct{ sessions *scs.SessionManager }

// NewSCS uses the store.
func NewSCS(store scs.Store) *SCS {
	m := scs.New()
	m.Store = store
	m.Lifetime = 24 * time.Hour
	return &SCS{m}
}

// Wrap implements Store.
func (s *SCS) Wrap(h http.Handler) http.Handler { return s.sessions.LoadAndSave(h) }

// Inc implements Store.
func (s *SCS) Inc(_ http.ResponseWriter, r *http.Request) (string, int, error) {
	ctx := r.Context()
	n := s.sessions.GetInt(ctx, "n") + 1
	s.sessions.Put(ctx, "n", n)
	return s.sessions.Token(ctx), n, nil
}

// Get implements Store.
func (s *SCS) Get(r *http.Request) (string, int, int, error) {
	ctx := r.Context()
	size := -1
	if blob, ok := s.sessions.Get(ctx, "blob").([]byte); ok {
		size = len(blob)
	}
	return s.sessions.Token(ctx), s.sessions.GetInt(ctx, "n"), size, nil
}

// Set implements Store.
func (s *SCS) Set(_ http.ResponseWriter, r *http.Request, blob []byte) (string, error) {
	ctx := r.Context()
	s.sessions.Put(ctx, "blob", blob)
	return s.sessions.Token(ctx), nil
}
