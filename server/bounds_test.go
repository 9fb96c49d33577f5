package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func dial(t *testing.T, n *node) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Clients that ask for much and take nothing are given up, with all that they hold; those that
// take it slowly, and those to whom nothing is said for long, are not.
func TestSlowReadersAreGivenUp(t *testing.T) {
	cfg := testConf("n1")
	cfg.HTTP.StallTimeout = 400 * time.Millisecond
	var busy, begun atomic.Int64
	const size = 16 << 20
	n := startNode(t, cfg, steps{
		"large": func(w http.ResponseWriter, _ *http.Request) {
			begun.Add(1)
			busy.Add(1)
			defer busy.Add(-1)
			_, _ = w.Write(make([]byte, size))
		},
		"events": func(w http.ResponseWriter, r *http.Request) {
			for i := range 3 {
				fmt.Fprintf(w, "event %d\n", i)
				_ = http.NewResponseController(w).Flush()
				select {
				case <-time.After(2 * cfg.HTTP.StallTimeout): // nothing to be said
				case <-r.Context().Done():
					return
				}
			}
		},
	}.app())
	n.waitReady()
	for range 20 {
		_, _ = io.WriteString(dial(t, n), "GET /test/large HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	eventually(t, "the readers are served", func() bool { return begun.Load() == 20 })
	slow := dial(t, n)
	_, _ = io.WriteString(slow, "GET /test/large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	patient := newUser(t)
	events := make(chan string, 1)
	go func() {
		_, body, _ := patient.get(n, "/test/events")
		events <- body
	}()
	got, buf := 0, make([]byte, 1<<20)
	for {
		m, err := slow.Read(buf)
		if got += m; err != nil {
			break
		}
		<-time.After(20 * time.Millisecond) // the client is slow
	}
	if got < size {
		t.Errorf("a slow reader got %d of %d bytes", got, size)
	}
	eventually(t, "those who take nothing are given up", func() bool { return busy.Load() == 0 })
	if body := <-events; body != "event 0\nevent 1\nevent 2\n" {
		t.Errorf("the stream of events: %q", body)
	}
}

// A body must come at some rate. One that comes slowly, but comes, is read to its end.
func TestSlowBodiesAreGivenUp(t *testing.T) {
	cfg := testConf("n1")
	cfg.HTTP.StallTimeout = time.Second
	n := startNode(t, cfg, steps{"read": func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestTimeout)
			return
		}
		fmt.Fprint(w, len(b))
	}}.app())
	n.waitReady()
	for _, c := range []struct {
		bytes, every int // of the body, at a time
		want         string
	}{
		{1000, 50, "200 OK"}, // 2.5 KB a second
		{1000, 1, "408 Request Timeout"},
	} {
		conn := dial(t, n)
		_, _ = fmt.Fprintf(conn, "POST /test/read HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", c.bytes)
		go func() {
			for sent := 0; sent < c.bytes; sent += c.every {
				if _, err := conn.Write(make([]byte, c.every)); err != nil {
					return
				}
				<-time.After(20 * time.Millisecond) // the client is slow
			}
		}()
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		answers := bufio.NewReader(conn)
		res, err := http.ReadResponse(answers, nil)
		if err != nil || res.Status != c.want {
			t.Fatalf("%d bytes at a time: %v, %v; want %s", c.every, res, err, c.want)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil || c.want != "200 OK" {
			continue
		}
		<-time.After(2 * cfg.HTTP.StallTimeout) // the connection is idle: the body's deadline must not end it
		_, _ = io.WriteString(conn, "GET /test/raw HTTP/1.1\r\nHost: x\r\n\r\n")
		if res, err := http.ReadResponse(answers, nil); err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("the connection's next request: %v, %v", res, err)
		}
	}
}

// A connection over the limit is closed, and counted; when another has ended there is room again.
func TestConnectionsOfUsersAreBounded(t *testing.T) {
	t.Parallel()
	cfg := testConf("n1")
	cfg.HTTP.MaxConnections, cfg.HTTP.ReadHeaderTimeout = 3, time.Minute
	n := startNode(t, cfg, testApp())
	n.waitReady()
	conns := []net.Conn{dial(t, n), dial(t, n), dial(t, n)}
	eventually(t, "three are open", func() bool { return n.server.bounds["http"].Stats().Open == 3 })
	over := dial(t, n)
	_ = over.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := over.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !isReset(err) {
		t.Errorf("a fourth connection: %v", err)
	}
	_, metrics := do(t, "GET", n.admin+"/metrics", nil)
	if want := `nodeserver_connections_refused_total{limit="connections",listener="http"} 1`; !strings.Contains(
		string(metrics),
		want+"\n",
	) {
		t.Errorf("no %s in the metrics", want)
	}
	_ = conns[0].Close()
	eventually(t, "one has ended", func() bool { return n.server.bounds["http"].Stats().Open == 2 })
	newUser(t).want(n, "/test/raw", "n1")
}
