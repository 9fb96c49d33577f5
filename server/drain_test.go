package server

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeserver/nodeserver/channel/channeltest"
	"github.com/nodeserver/nodeserver/server/internal/headers"
	"github.com/nodeserver/nodeserver/webapps"
)

// A node that is told to stop says so first, on an idle connection, too: what is sent
// there in that time is answered, and only then ends the connection.
func TestStopIsToldBeforeConnectionsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		connected, probed bool
		posts             time.Duration // after the node was told to stop; 0: not
		ends              time.Duration // after that, at most
	}{
		"nobody there":          {ends: 50 * time.Millisecond},
		"idle connection":       {connected: true, ends: 1050 * time.Millisecond},
		"request in the notice": {connected: true, posts: 800 * time.Millisecond, ends: 950 * time.Millisecond},
		"probes only":           {probed: true, ends: 1050 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := testConf("n1")
				cfg.Channel.Insecure = true
				cfg.HTTP.DrainNotice = time.Second
				network := channeltest.NewNetwork()
				s, err := New(
					cfg, []webapps.App{testApp()}, discard(),
					WithListeners(network.Listen("n1:80"), network.Listen("n1:81"), network.Listen("n1:1")),
				)
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- s.Run(ctx) }()
				pass(time.Second)
				dial := network.Dialer("user")
				ask := func(rw io.ReadWriter, in *bufio.Reader, request string) *http.Response {
					t.Helper()
					if _, err := io.WriteString(rw, request+" HTTP/1.1\r\nHost: n1\r\nContent-Length: 0\r\n\r\n"); err != nil {
						t.Fatalf("%s: %v", request, err)
					}
					res, err := http.ReadResponse(in, nil)
					if err != nil {
						t.Fatalf("%s: %v", request, err)
					}
					_, _ = io.Copy(io.Discard, res.Body) // its head is what counts
					return res
				}
				ready := func() int {
					t.Helper()
					conn, err := dial(ctx, "n1:81")
					if err != nil {
						t.Fatal(err)
					}
					defer conn.Close()
					return ask(conn, bufio.NewReader(conn), "GET /readyz").StatusCode
				}
				if c.probed && ready() != http.StatusOK {
					t.Error("not ready")
				}
				var post func() *http.Response
				if c.connected {
					conn, err := dial(ctx, "n1:80")
					if err != nil {
						t.Fatal(err)
					}
					defer conn.Close()
					in := bufio.NewReader(conn)
					post = func() *http.Response { return ask(conn, in, "POST /test/raw") }
					if res := post(); res.StatusCode != http.StatusOK || res.Close {
						t.Errorf("before: %s, close %v", res.Status, res.Close)
					}
				}
				told := time.Now()
				stop()
				if c.posts > 0 {
					ctx = t.Context()
					pass(c.posts)
					if status := ready(); status != http.StatusServiceUnavailable {
						t.Errorf("in the notice: /readyz %d", status)
					}
					if res := post(); res.StatusCode != http.StatusOK || !res.Close {
						t.Errorf("in the notice: %s, close %v", res.Status, res.Close)
					}
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
				took := time.Since(told)
				if c.ends < took {
					t.Errorf("stopped after %v, want %v at most", took, c.ends)
				}
				if c.probed && took < time.Second {
					t.Errorf("stopped after %v, though somebody sends probes", took)
				}
			})
		})
	}
}

// A request whose head has come in half when the notice ends is answered, while a client that
// sends none does not hold up the stop.
func TestStopWaitsForRequestsHalfRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConf("n1")
		cfg.Channel.Insecure = true
		cfg.HTTP.DrainNotice = time.Second
		network := channeltest.NewNetwork()
		s, err := New(cfg, []webapps.App{testApp()}, discard(),
			WithListeners(network.Listen("n1:80"), network.Listen("n1:81"), network.Listen("n1:1")))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		pass(time.Second)
		dial := func() net.Conn {
			conn, err := network.Dialer("user")(t.Context(), "n1:80")
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}
		idle := dial() // so that the node does not stop at once
		defer idle.Close()
		synctest.Wait()
		told := time.Now()
		stop()
		pass(990 * time.Millisecond)
		silent, conn := dial(), dial()
		defer silent.Close()
		defer conn.Close()
		_, _ = io.WriteString(conn, "POST /test/raw HTTP/1.1\r\nHost: n1\r\n")
		pass(100 * time.Millisecond)
		_, _ = io.WriteString(conn, "Content-Length: 0\r\n\r\n")
		if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != http.StatusOK || !res.Close {
			t.Errorf("%v %v", res, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took, most := time.Since(told), cfg.HTTP.DrainNotice+quietTime+cfg.HTTP.ShutdownGrace+time.Second; took > most {
			t.Errorf("stopped after %v, want %v at most", took, most)
		}
	})
}

// An answer that goes on until the app's Done closes ends with the stop, which does not wait
// for it for the whole grace; what the answer writes at the end arrives.
func TestStopEndsAnswersThatWatchDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := webapps.App{Name: "test", New: func(c webapps.Context) (http.Handler, error) {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_ = http.NewResponseController(w).Flush()
				select {
				case <-c.Done():
					_, _ = io.WriteString(w, "the end")
				case <-r.Context().Done():
				}
			}), nil
		}}
		cfg := testConf("n1")
		cfg.Channel.Insecure = true
		cfg.HTTP.DrainNotice, cfg.HTTP.ShutdownGrace = time.Second, 20*time.Second
		network := channeltest.NewNetwork()
		s, err := New(
			cfg, []webapps.App{app}, discard(),
			WithListeners(network.Listen("n1:80"), network.Listen("n1:81"), network.Listen("n1:1")),
		)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		pass(time.Second)
		conn, err := network.Dialer("user")(t.Context(), "n1:80")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /test/ HTTP/1.1\r\nHost: n1\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		told := time.Now()
		stop()
		if body, err := io.ReadAll(res.Body); err != nil || string(body) != "the end" {
			t.Errorf("the answer: %q, %v", body, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(told); took < cfg.HTTP.DrainNotice || took > 2*time.Second {
			t.Errorf("stopped after %v", took)
		}
	})
}

// The question about the node itself stays the first of many on its connection.
func TestLifeIsToldWhileStopping(t *testing.T) {
	cfg := testConf("n1")
	cfg.HTTP.DrainNotice = 5 * time.Second
	n := startNode(t, cfg, testApp())
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	n.server.drain.Begin()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, n.url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.URL.Opaque = "*"
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.Close || !strings.HasPrefix(res.Header.Get(headers.Incarnation), headers.IncarnationToken(n.server.id)) {
		t.Errorf("%s, close %v, %v", res.Status, res.Close, res.Header)
	}
}
