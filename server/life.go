package server

import (
	"crypto/sha256"
	"fmt"
	"net/http"

	"github.com/nodeserver/nodeserver/membership"
)

// HeaderLife is the header in which a node's HTTP listener says which life of
// which node it is, when it is asked with OPTIONS *. A balancer asks each new
// connection, so that no address which a member announces leads it to something
// that is not that member's HTTP listener, such as an admin address.
const HeaderLife = "Nodeserver-Life"

// LifeToken is the value of HeaderLife: a hash of the name and the boot, from
// which a stranger learns neither.
func LifeToken(id membership.ID) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "nodeserver life %s/%x", id.Name, id.Boot))
	return fmt.Sprintf("%x", sum[:12])
}

// answersForItself answers OPTIONS *, the question about the server itself (RFC
// 9110 section 9.3.7), and hands all other requests on.
func answersForItself(id membership.ID, next http.Handler) http.Handler {
	token := []string{LifeToken(id)}
	none := []string{"0"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions && r.RequestURI == "*" {
			w.Header()[HeaderLife], w.Header()["Content-Length"] = token, none
			return
		}
		next.ServeHTTP(w, r)
	})
}
