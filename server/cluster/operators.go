package cluster

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/keys"
)

// ForOperators lets requests pass that carry the token of the conf's
// admin.token_file, which it reads now; without one, all.
func ForOperators(c config.Admin, next http.Handler) (http.Handler, error) {
	token, err := readToken(c.TokenFile)
	if err != nil {
		return nil, err
	}
	return guard(token, next), nil
}

// readToken reads the bearer token; none configured: nil, everybody on loopback
// may look.
func readToken(file string) (*keys.Secret, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // no token is no error
	}
	token, err := keys.ReadSecret(file)
	if err != nil {
		return nil, fmt.Errorf("admin.token_file: %w", err)
	}
	return &token, nil
}

// guard lets requests with the token pass.
func guard(token *keys.Secret, next http.Handler) http.Handler {
	if token == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || !token.Matches(given) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="nodeserver"`)
			http.Error(w, "this needs the token in admin.token_file as: Authorization: Bearer TOKEN", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
