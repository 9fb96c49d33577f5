package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

// echoing is the source of an app that answers the handshake of a WebSocket and sends back what comes.
const echoing = `
import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
)

func Webapp() webapps.App {
	return webapps.App{Name: "talk", New: func(webapps.Context) (http.Handler, error) { return handler{}, nil }}
}

type handler struct{}

func (handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "websocket" {
		http.Error(w, "no WebSocket is asked for", http.StatusUpgradeRequired)
		return
	}
	c, both, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), 500)
		return
	}
	defer c.Close()
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	fmt.Fprintf(both, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
	both.Flush()
	io.Copy(c, both)
}
`

// A WebSocket passes each balancer, both ways, for longer than a request's answer would take.
func TestWebSocketThroughBalancers(t *testing.T) {
	apps := plugin(t, "talk", echoing)
	put(t, filepath.Join(webapp, "bench.so"), filepath.Join(apps, "bench.so")) // by which it is seen that a balancer is ready
	c := loopback(t, "webapps.dir="+apps)
	for _, n := range c {
		n.start()
	}
	c.await(t, startLimit)
	for _, name := range []string{"nodeserver balance", "haproxy", "nginx", "apache", "caddy"} {
		t.Run(name, func(t *testing.T) {
			var address string
			if balancers[name].program == "" {
				address = door(t, c).http
			} else {
				address = balancer(t, c, name)
			}
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			_, err = fmt.Fprintf(conn, "GET /talk/ HTTP/1.1\r\nHost: %s\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"+
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", address)
			if err != nil {
				t.Fatal(err)
			}
			in := bufio.NewReader(conn)
			w, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if accept := w.Header.Get("Sec-WebSocket-Accept"); w.StatusCode != http.StatusSwitchingProtocols ||
				accept != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" { // of RFC 6455, part 1.3
				t.Fatalf("the handshake is answered with %s, Sec-WebSocket-Accept %q", w.Status, accept)
			}
			for i := range 3 {
				sent, got := fmt.Sprintf("message %d", i), make([]byte, len("message 0"))
				if _, err := io.WriteString(conn, sent); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(in, got); err != nil || string(got) != sent {
					t.Fatalf("sent %q, came back %q, %v", sent, got, err)
				}
				until(time.Now().Add(300 * time.Millisecond)) // it stays open between messages
			}
		})
	}
}
