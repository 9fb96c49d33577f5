package server

import "net/http"

// ForOperators lets requests pass that carry the token of the conf's
// admin.token_file, which it reads now; without one, all.
func ForOperators(c AdminConfig, next http.Handler) (http.Handler, error) {
	token, err := readToken(c.TokenFile)
	if err != nil {
		return nil, err
	}
	return guard(token, next), nil
}
