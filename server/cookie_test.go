package server

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/nodeserver/nodeserver/webapps"
)

// bare is a node that doesn't run: its apps can be asked, nothing else.
type bare struct{ *Server }

func unstarted(t *testing.T, cfg Config, apps ...webapps.App) bare {
	t.Helper()
	s, err := New(cfg, apps, discard())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range s.apps {
		a.manager.Settle()
		a.manager.Core.Tick(1)
	}
	return bare{s}
}

// ask asks the app whose path is the longest of those that fit.
func (s bare) ask(t *testing.T, path string, cookies ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
	for _, line := range cookies {
		r.Header.Add("Cookie", line)
	}
	w := httptest.NewRecorder()
	s.httpServer().Handler.ServeHTTP(w, r)
	return w.Result()
}
