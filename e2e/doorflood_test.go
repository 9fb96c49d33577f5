package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// mostMemory is what the balancer may take under each of these floods, as docs/LOAD-BALANCING.md
// says.
const mostMemory = 200 << 20

// floodTime is for how long a flood lasts; E2E_FLOOD sets another time.
func floodTime(t *testing.T) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(os.Getenv("E2E_FLOOD"))
	if err != nil {
		d = 4 * time.Second
	}
	return d
}

// peak is the most memory that the process has had resident.
func (n *node) peak(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var kb int
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	if _, err := fmt.Sscan(rest, &kb); err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// flooder does one thing to the balancer, on a connection of its own, until stop is closed.
type flooder struct {
	name    string
	clients int
	do      func(c net.Conn, stop <-chan struct{}) error
}

// trickle sends a piece of the text a second, the last one never.
func trickle(c net.Conn, stop <-chan struct{}, text string, piece int) error {
	for len(text) > piece {
		if _, err := io.WriteString(c, text[:piece]); err != nil {
			return err
		}
		text = text[piece:]
		select {
		case <-stop:
			return nil
		case <-time.After(time.Second):
		}
	}
	<-stop
	return nil
}

var flooders = []flooder{
	{"unfinished heads", 1000, func(c net.Conn, stop <-chan struct{}) error {
		// All but the last line of the largest head that is allowed, at once.
		fields := strings.Repeat("X-Field: "+strings.Repeat("x", 989)+"\r\n", 62)
		if _, err := io.WriteString(c, "GET /bench/inc HTTP/1.1\r\nHost: x\r\n"+fields); err != nil {
			return err
		}
		return trickle(c, stop, strings.Repeat("X", 100), 1)
	}},
	{"slow bodies", 2000, func(c net.Conn, stop <-chan struct{}) error {
		if _, err := io.WriteString(c, "POST /bench/inc HTTP/1.1\r\nHost: x\r\nContent-Length: 32768\r\n\r\n"); err != nil {
			return err
		}
		return trickle(c, stop, strings.Repeat("x", 32768), 600)
	}},
	{"slow readers", 400, func(c net.Conn, stop <-chan struct{}) error {
		if err := c.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			return err
		}
		if _, err := io.WriteString(c, "GET /big/ HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return err
		}
		for {
			if _, err := io.CopyN(io.Discard, c, 1<<10); err != nil {
				return err
			}
			select {
			case <-stop:
				return nil
			case <-time.After(time.Second):
			}
		}
	}},
}

// run floods the balancer, each client again and again, until stop is closed. It returns how many
// connections were made.
func (f flooder) run(d *node, stop <-chan struct{}) int64 {
	var made atomic.Int64
	var clients sync.WaitGroup
	for i := range f.clients {
		clients.Go(func() {
			<-time.After(3 * time.Second * time.Duration(i) / time.Duration(f.clients)) // not all in one moment
			for {
				if c, err := net.Dial("tcp", d.http); err == nil {
					made.Add(1)
					hung := make(chan struct{})
					go func() {
						select {
						case <-stop:
							_ = c.SetDeadline(time.Now())
						case <-hung:
						}
					}()
					_ = f.do(c, stop) // the balancer may end it
					close(hung)
					_ = c.Close()
				}
				select {
				case <-stop:
					return
				case <-time.After(100 * time.Millisecond):
				}
			}
		})
	}
	clients.Wait()
	return made.Load()
}

// quantile is how long the slowest answers took, but for one in a hundred.
func quantile(took []time.Duration) time.Duration {
	slices.Sort(took)
	return took[len(took)*99/100]
}

// visits are how long the answers to other users of each balancer take, for some time, but for the
// slowest one in a hundred. All are good.
func visits(t *testing.T, lasting time.Duration, doors ...*node) (p99 []time.Duration) {
	t.Helper()
	users, took := make([]user, len(doors)), make([][]time.Duration, len(doors))
	for end := time.Now().Add(lasting); time.Now().Before(end); {
		for i, d := range doors {
			took[i] = append(took[i], users[i].ok(t, d, "inc").took)
			<-time.After(5 * time.Millisecond) // others need the machine, too
		}
	}
	for _, list := range took {
		p99 = append(p99, quantile(list))
	}
	return p99
}

// Clients that send or take next to nothing cost the balancer a bounded memory, others are
// served meanwhile, and no node is taken for dead.
func TestDoorUnderSlowClients(t *testing.T) {
	apps := plugin(t, "big", `
func Webapp() webapps.App {
	return webapps.App{Name: "big", New: func(webapps.Context) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			piece := make([]byte, 64<<10)
			for range 96 {
				if _, err := w.Write(piece); err != nil {
					return
				}
			}
		}), nil
	}}
}
`)
	if err := os.Link(filepath.Join(webapp, "bench.so"), filepath.Join(apps, "bench.so")); err != nil {
		t.Fatal(err)
	}
	c := started(t, "webapps.dir="+apps)
	aside := door(t, c) // nobody floods it: what its users wait for is the machine
	for _, f := range flooders {
		t.Run(f.name, func(t *testing.T) {
			d := door(t, c)
			quiet := visits(t, 2*time.Second, d)[0]
			before := d.peak(t)
			stop, over := make(chan struct{}), make(chan int64)
			go func() { over <- f.run(d, stop) }()
			within(t, 20*time.Second, "the flood", func() error {
				if n := metric(t, d, `nodeserver_balancer_connections{listener="http"}`); n < float64(f.clients)*0.9 {
					return fmt.Errorf("%v connections", n)
				}
				return nil
			})
			began, used := time.Now(), cpu(t, d.cmd.Process.Pid)
			flooded := visits(t, floodTime(t), d, aside)
			cores := (cpu(t, d.cmd.Process.Pid) - used).Seconds() / time.Since(began).Seconds()
			close(stop)
			made := <-over
			peak := d.peak(t)
			t.Logf("%d clients, %d connections: %d MB, %d MB before, %.2f cores", f.clients, made, peak>>20, before>>20, cores)
			t.Logf("other users' p99 %v, %v before; meanwhile through a balancer that is not flooded %v", flooded[0], quiet, flooded[1])
			if peak > mostMemory {
				t.Errorf("%d MB", peak>>20)
			}
			if n := metric(t, d, "nodeserver_balancer_nodes_down_total"); n != 0 {
				t.Errorf("%v nodes marked down", n)
			}
		})
	}
}

// metric is a number of the balancer's metrics; -1: it is not there.
func metric(t *testing.T, n *node, name string) float64 {
	t.Helper()
	status, body, err := n.ask("/metrics")
	if err != nil || status != http.StatusOK {
		t.Fatalf("/metrics: %d %v", status, err)
	}
	for line := range strings.Lines(string(body)) {
		var v float64
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			if _, err := fmt.Sscan(text, &v); err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	return -1
}
