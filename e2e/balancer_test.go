package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
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
// cluster, and waits until it serves.
func balancer(t *testing.T, c cluster, name string, more ...string) (address string) {
	t.Helper()
	address = unchecked(t, c, name, more...)
	within(t, startLimit, name+" ready", func() error {
		if a, err := new(user).get(&node{http: address, client: c[0].client}, "inc"); err != nil || a.status != http.StatusOK {
			return errEarly
		}
		return nil
	})
	return address
}

// unchecked is balancer, of one that may not serve yet.
func unchecked(t *testing.T, c cluster, name string, more ...string) (address string) {
	t.Helper()
	b := balancers[name]
	program, err := exec.LookPath(b.program)
	if err != nil {
		t.Fatalf("%s is missing: apt-get install %s, and have /usr/sbin in PATH", b.program, b.deb)
	}
	address = freeAddress(t)
	file := filepath.Join(t.TempDir(), name+".conf")
	args := append([]string{"lb-config", name, "--admin", c[0].admin, "--listen", address}, more...)
	conf, err := exec.Command(bin, args...).Output()
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
	return address
}

// Users come through each balancer, as lb-config sets it up, and through our own balancer,
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
	users := clientsOf(address, loadClients, load{postEvery: 3})
	phase := func(what string, f func()) outcome {
		f()
		until(time.Now().Add(calm))
		o := users.next()
		t.Logf(
			"%-20s %-7s %6d requests, %d failed, %d POSTs cut off, %d moved, longest %v %s", name, what,
			o.requests, o.failed, o.cut, o.moved, o.longest.Round(time.Millisecond), o.first,
		)
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
	users.end()
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
