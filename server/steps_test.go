package server

import (
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/nodeserver/nodeserver/webapps"
)

// steps are paths of an app, and what they do.
type steps map[string]http.HandlerFunc

// app has these paths besides those of testApp.
func (s steps) app() webapps.App {
	app := testApp()
	inner := app.New
	app.New = func(c webapps.Context) (http.Handler, error) {
		others, err := inner(c)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if f := s[strings.TrimPrefix(r.URL.Path, "/")]; f != nil {
				f(w, r)
				return
			}
			others.ServeHTTP(w, r)
		}), err
	}
	return app
}

// alone runs the app on one node.
func (s steps) alone(t *testing.T) *node {
	t.Helper()
	n := startNode(t, testConf("n1"), s.app())
	n.waitReady()
	return n
}

// tap lets a node's members' bytes through, or holds them.
type tap struct {
	mu   sync.Mutex
	wait chan struct{} // nil: open
}

func (p *tap) shut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wait == nil {
		p.wait = make(chan struct{})
	}
}

func (p *tap) open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wait != nil {
		close(p.wait)
		p.wait = nil
	}
}

type tapped struct {
	net.Listener
	tap *tap
}

func (l tapped) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return tappedConn{c, l.tap}, err
}

type tappedConn struct {
	net.Conn
	tap *tap
}

func (c tappedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.tap.mu.Lock()
	wait := c.tap.wait
	c.tap.mu.Unlock()
	if wait != nil {
		<-wait
	}
	return n, err
}

// pair runs two nodes. What n1 sends to n2 can be held, for half a second:
// then n2 begins to wonder.
func pair(t *testing.T, app webapps.App, change func(*Config)) (n1, n2 *node, toN2 *tap) {
	t.Helper()
	toN2 = new(tap)
	conf := func(name string, static ...string) Config {
		c := testConf(name, static...)
		if change != nil {
			change(&c)
		}
		return c
	}
	n1 = startNode(t, conf("n1"), app)
	n2 = startNodeAt(t, conf("n2", n1.channel()), tapped{freeListener(t), toN2}, app)
	t.Cleanup(toN2.open)
	for _, n := range []*node{n1, n2} {
		n.waitReady()
		eventually(t, "two members", func() bool { return len(strings.Fields(n.server.names())) == 2 })
	}
	return n1, n2, toN2
}

// report makes an error of a handler one of the test.
func report(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
