// Package headers holds the headers by which a node and a balancer talk to each other.
package headers

import (
	"crypto/sha256"
	"fmt"

	"github.com/nodeserver/nodeserver/membership"
)

// Retry is the header by which a node marks an answer in place of which a balancer may
// ask another node, whatever the request's method and body: the value is "next", and no
// handler of an app has seen the request.
const Retry = "Nodeserver-Retry"

// RetryNext is the value of Retry. It must not be changed.
var RetryNext = []string{"next"}

// Incarnation is the header in which a node's HTTP listener says which incarnation of which node it
// is, when it is asked with OPTIONS *. A balancer asks each new connection, so that no address
// which a member announces leads it to something that is not that member's HTTP listener, such as
// an admin address.
const Incarnation = "Nodeserver-Incarnation"

// IncarnationToken is the value of Incarnation: a hash of the name and the incarnation, from which
// a stranger learns neither.
func IncarnationToken(id membership.ID) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "nodeserver life %s/%x", id.Name, id.Incarnation))
	return fmt.Sprintf("%x", sum[:12])
}

// ReadyPath is the path on a node's listener for users where balancers ask whether to send
// requests: 200 if so, else 503. No app gets a request for it. The admin address, which
// tells why, need not be open to balancers.
const ReadyPath = "/-/readyz"
