package server

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/internal/headers"
)

// The listener for users says whose it is, the one for operators does not: by
// this a balancer tells them apart.
func TestOnlyTheListenerForUsersNamesItsLife(t *testing.T) {
	n := startNode(t, testConf("n1"), testApp())
	n.waitReady()
	id := n.server.id
	for _, other := range []membership.ID{{Name: "n1", Incarnation: id.Incarnation + 1}, {Name: "n2", Incarnation: id.Incarnation}} {
		if headers.IncarnationToken(id) == headers.IncarnationToken(other) {
			t.Errorf("%s and %s have one token", id, other)
		}
	}
	for at, want := range map[net.Addr]string{n.server.httpL.Addr(): headers.IncarnationToken(id), n.server.adminL.Addr(): ""} {
		c, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := fmt.Fprint(c, "OPTIONS * HTTP/1.1\r\nHost: node\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Header.Get(headers.Incarnation); got != want || res.StatusCode != http.StatusOK || res.ContentLength != 0 {
			t.Errorf("%s answers %d, life %q, %d bytes; want life %q", at, res.StatusCode, got, res.ContentLength, want)
		}
	}
}
