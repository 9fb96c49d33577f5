package server

import (
	"io"
	"net/http"

	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/internal/headers"
)

// answersForItself answers OPTIONS *, the question about the server itself (RFC
// 9110 section 9.3.7), and headers.ReadyPath, and hands all other requests on.
func answersForItself(id membership.ID, ready func() bool, next http.Handler) http.Handler {
	token := []string{headers.IncarnationToken(id)}
	none := []string{"0"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions && r.RequestURI == "*" {
			w.Header()[headers.Incarnation], w.Header()["Content-Length"] = token, none
			return
		}
		if r.URL.Path == headers.ReadyPath {
			w.Header()["Cache-Control"] = noStore
			if !ready() {
				http.Error(w, "not ready", http.StatusServiceUnavailable)
				return
			}
			_, _ = io.WriteString(w, "ready\n") // a prober that hung up needs no answer
			return
		}
		next.ServeHTTP(w, r)
	})
}

var noStore = []string{"no-store"}
