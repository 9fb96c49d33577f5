package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// balancers are the programs that lb-config writes files for: what runs each, and its
// Debian package.
var balancers = map[string]struct {
	program, deb string
	args         func(file, dir string) []string
}{
	"haproxy": {"haproxy", "haproxy", func(file, _ string) []string { return []string{"-db", "-f", file} }},
	"nginx": {"nginx", "nginx-light", func(file, dir string) []string {
		return []string{"-c", file, "-g", "daemon off; error_log stderr crit; pid " + dir + "/nginx.pid;"}
	}},
	"apache": {"apache2", "apache2", func(file, _ string) []string { return []string{"-D", "FOREGROUND", "-f", file} }},
	"caddy":  {"caddy", "caddy", func(file, _ string) []string { return []string{"run", "--adapter", "caddyfile", "--config", file} }},
}

// balancer runs one of the balancers with the file that lb-config prints for the running
// cluster.
func balancer(t *testing.T, c cluster, name string, flags ...string) (address string) {
	t.Helper()
	b := balancers[name]
	program, err := exec.LookPath(b.program)
	if err != nil {
		t.Fatalf("%s is missing: apt-get install %s, and have /usr/sbin in PATH", b.program, b.deb)
	}
	address = freeAddress(t)
	file := filepath.Join(t.TempDir(), name+".conf")
	conf, err := exec.Command(bin, append([]string{"lb-config", name, "--admin", c[0].admin, "--listen", address}, flags...)...).Output()
	if err != nil {
		t.Fatalf("lb-config %s: %v", name, err)
	}
	if err := os.WriteFile(file, conf, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, b.args(file, t.TempDir())...)
	log := new(logBuffer)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+t.TempDir(), "XDG_CONFIG_HOME="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // nginx and Apache end their workers then
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", name, log.tail(20))
		}
	})
	within(t, startLimit, name+" ready", func() error {
		if a, err := new(user).get(&node{http: address, client: c[0].client}, "inc"); err != nil || a.status != http.StatusOK {
			return errEarly
		}
		return nil
	})
	return address
}

// outcome is what clients of a balancer saw during one phase of a test.
type outcome struct {
	requests, failed, cut, moved int
	longest                      time.Duration
	first                        string // of what failed
}

// clients send requests, every third a POST with a body, and note what they get.
type clients struct {
	mu    sync.Mutex
	phase *outcome
	stop  chan struct{}
	all   sync.WaitGroup
}

func clientsOf(address string, n int) *clients {
	c := &clients{phase: &outcome{}, stop: make(chan struct{})}
	for range n {
		c.all.Go(func() { c.client(address) })
	}
	return c
}

func (c *clients) client(address string) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	u := &user{}
	route := ""
	for i := 0; ; i++ {
		select {
		case <-c.stop:
			return
		default:
		}
		method, body := http.MethodGet, io.Reader(nil)
		if i%3 == 0 {
			method, body = http.MethodPost, strings.NewReader(strings.Repeat("x", 512))
		}
		r, err := http.NewRequest(method, "http://"+address+"/bench/inc", body)
		if err != nil {
			panic(err)
		}
		u.send(r)
		begin := time.Now()
		w, err := client.Do(r)
		why := ""
		if err != nil {
			why = err.Error()
		} else {
			text, err := io.ReadAll(w.Body)
			_ = w.Body.Close()
			u.keep(w.Cookies())
			if err != nil || w.StatusCode != http.StatusOK {
				why = fmt.Sprintf("%s %s: %.100q %v", method, w.Status, text, err)
			}
		}
		_, now, _ := strings.Cut(u.id(), ".")
		c.note(method, time.Since(begin), why, route != "" && now != route)
		route = now
	}
}

func (c *clients) note(method string, took time.Duration, why string, moved bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.phase
	o.requests++
	o.longest = max(o.longest, took)
	if moved {
		o.moved++
	}
	switch {
	case why == "":
	case method == http.MethodPost && (strings.Contains(why, " 502 ") || strings.HasSuffix(why, "EOF")): // may have been carried out
		o.cut++
	default:
		if o.failed++; o.first == "" {
			o.first = why
		}
	}
}

// next begins another phase and returns what the last one brought.
func (c *clients) next() outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := *c.phase
	c.phase = &outcome{}
	return o
}

// Users come through each balancer, as lb-config sets it up, and through our own front door,
// while a node is killed, is frozen, stops in order, and comes back.
func TestBalancers(t *testing.T) {
	for _, name := range []string{"nodeserver balance", "haproxy", "nginx", "apache", "caddy"} {
		t.Run(name, func(t *testing.T) {
			c := started(t)
			var address string
			if balancers[name].program == "" {
				address = door(t, c).http
			} else {
				address = balancer(t, c, name)
			}
			through(t, c, address, name)
		})
	}
}

// loadClients is how many clients through has.
const loadClients = 24

// calm is how long each phase of through goes on.
const calm = 1500 * time.Millisecond

func through(t *testing.T, c cluster, address, name string) {
	t.Helper()
	load := clientsOf(address, loadClients)
	phase := func(what string, f func()) outcome {
		f()
		until(time.Now().Add(calm))
		o := load.next()
		t.Logf("%-20s %-7s %6d requests, %d failed, %d POSTs cut off, %d moved, longest %v %s", name, what, o.requests, o.failed, o.cut, o.moved, o.longest.Round(time.Millisecond), o.first)
		return o
	}
	back := func(n *node) {
		n.start()
		within(t, startLimit, n.name+" back", func() error {
			if status, _, err := n.ask("/readyz"); err != nil || status != http.StatusOK {
				return errEarly
			}
			return nil
		})
	}
	phases := map[string]outcome{}
	phases["calm"] = phase("calm", func() {})
	phases["killed"] = phase("killed", func() { c[0].kill() })
	phases["back"] = phase("back", func() { back(c[0]) })
	phases["stopped"] = phase("stopped", func() {
		c[1].signal(syscall.SIGTERM)
		if code := c[1].exit(15 * time.Second); code != 0 {
			t.Errorf("exit code %d", code)
		}
		back(c[1])
	})
	phases["frozen"] = phase("frozen", func() {
		c[2].signal(syscall.SIGSTOP)
		until(time.Now().Add(5 * time.Second))
		c[2].signal(syscall.SIGCONT)
	})
	close(load.stop)
	load.all.Wait()
	for what, o := range phases {
		if o.requests == 0 {
			t.Errorf("%s: no request", what)
		}
	}
	for _, what := range []string{"calm", "back", "stopped"} {
		if o := phases[what]; o.failed+o.cut > 0 {
			t.Errorf("%s: %d requests failed, %d were cut off: %s", what, o.failed, o.cut, o.first)
		}
	}
	// Some repeat no request that they have sent; each client has one on its way at most.
	most := map[string]int{"apache": loadClients, "caddy": loadClients}[name]
	if o := phases["killed"]; o.failed > most {
		t.Errorf("killed: %d requests failed: %s", o.failed, o.first)
	}
}
