package balance_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/balance"
)

// Idle connections to a node that drains are ended by the balancer, before the
// node ends them and takes a request along.
func TestIdleConnectionsToADrainingNodeEnd(t *testing.T) {
	b := &backend{name: "a", incarnation: 1}
	var idle, closed atomic.Int64
	ln, err := balance.Listen(t.Context(), "test", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.addr = ln.Addr().String()
	b.handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	srv := &http.Server{
		Handler: http.HandlerFunc(b.serve), DisableGeneralOptionsHandler: true, ReadHeaderTimeout: time.Minute,
		ConnState: func(_ net.Conn, s http.ConnState) {
			switch s {
			case http.StateIdle:
				idle.Add(1)
			case http.StateClosed:
				closed.Add(1)
			case http.StateNew, http.StateActive, http.StateHijacked:
			}
		},
	}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	source := make(told)
	d := open(t, source)
	node := balance.Node{Name: "a", Incarnation: 1, Address: b.addr, Use: balance.Full}
	source <- []balance.Node{node}
	until(t, "the node is known", func() bool { return d.log.count("node added") == 1 })
	if status, text := d.ask(t, "POST", ""); status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	until(t, "the connection is idle", func() bool { return idle.Load() == 2 }) // after the greeting, and the request
	if n := closed.Load(); n != 0 {
		t.Fatalf("%d connections closed early", n)
	}
	node.Use = balance.Spare
	source <- []balance.Node{node}
	until(t, "the idle connection is closed", func() bool { return closed.Load() == 1 })
	if status, text := d.ask(t, "POST", ""); status != http.StatusOK {
		t.Errorf("where nobody else is there: %d %s", status, text)
	}
}

// A balancer that is told to stop says so, and serves on until that can be known.
func TestFrontDoorTellsThatItStops(t *testing.T) {
	a := newBackend(t, "a")
	ln, err := balance.Listen(t.Context(), "test", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	admin, err := balance.Listen(t.Context(), "test", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b, err := balance.New(balance.Config{DrainNotice: 20 * time.Second}, fixed(a), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, ln, admin) }()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	post := func() (int, bool) {
		t.Helper()
		if _, err := io.WriteString(conn, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\ny"); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, res.Close
	}
	ready := func() int {
		t.Helper()
		res, err := http.Get("http://" + admin.Addr().String() + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	until(t, "a node is known", func() bool { status, _ := post(); return status == http.StatusOK })
	stop()
	until(t, "it says that it drains", func() bool { return ready() == http.StatusServiceUnavailable })
	if status, last := post(); status != http.StatusOK || !last {
		t.Errorf("while it drains: status %d, connection ends: %v", status, last)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("with no connection left it waits for the whole notice")
	}
}
