package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// door makes nodeserver's own front door for the cluster, started.
func door(t *testing.T, c cluster) *node {
	t.Helper()
	httpAt, admin := freeAddress(t), freeAddress(t)
	var name, static string
	for _, arg := range c[0].args {
		if strings.HasPrefix(arg, "cluster.name=") {
			name = arg
		}
		if strings.HasPrefix(arg, "membership.static=") {
			static = arg
		}
	}
	d := newNode(t, "door", "balance.toml", nil, name, static, "balance.address="+httpAt, "admin.address="+admin)
	d.args[0] = "balance"
	d.http, d.admin = httpAt, admin
	d.start()
	within(t, startLimit, "front door ready", func() error {
		if status, body, err := d.ask("/readyz"); err != nil || status != http.StatusOK {
			return fmt.Errorf("%d %s %w", status, body, err)
		}
		return nil
	})
	return d
}

// posting is a load of POSTs at one address.
type posting struct {
	sent, failed atomic.Int64
	mu           sync.Mutex
	first        []string // of what failed
	stop         chan struct{}
	all          sync.WaitGroup
}

// postTo has clients send POSTs, each one after the other, until end.
func postTo(address string, clients int) *posting {
	p := &posting{stop: make(chan struct{})}
	for range clients {
		p.all.Go(func() { p.client(address) })
	}
	return p
}

func (p *posting) client(address string) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	var cookies []*http.Cookie
	for {
		select {
		case <-p.stop:
			return
		default:
		}
		p.sent.Add(1)
		r, err := http.NewRequest(http.MethodPost, "http://"+address+"/bench/inc", strings.NewReader("x=1"))
		if err != nil {
			p.fail(err.Error())
			return
		}
		for _, c := range cookies {
			r.AddCookie(c)
		}
		w, err := client.Do(r)
		if err != nil {
			p.fail(err.Error())
			continue
		}
		body, err := io.ReadAll(w.Body)
		_ = w.Body.Close()
		switch {
		case err != nil:
			p.fail(err.Error())
		case w.StatusCode != http.StatusOK:
			p.fail(fmt.Sprintf("%s: %.200s", w.Status, body))
		}
		if len(cookies) == 0 {
			cookies = w.Cookies()
		}
	}
}

func (p *posting) fail(why string) {
	p.failed.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.first) < 5 {
		p.first = append(p.first, why)
	}
}

// end ends the load and fails the test if a request had no good answer.
func (p *posting) end(t *testing.T) {
	t.Helper()
	close(p.stop)
	p.all.Wait()
	t.Logf("%d POSTs, %d of them failed", p.sent.Load(), p.failed.Load())
	if p.sent.Load() == 0 || p.failed.Load() > 0 {
		t.Errorf("%d of %d POSTs failed, as: %s", p.failed.Load(), p.sent.Load(), strings.Join(p.first, "; "))
	}
}

// stops is how many stops a test makes: E2E_STOPS, for the record, or 10.
func stops(t *testing.T) int {
	t.Helper()
	given := os.Getenv("E2E_STOPS")
	if given == "" {
		return 10
	}
	n, err := strconv.Atoi(given)
	if err != nil {
		t.Fatalf("E2E_STOPS: %v", err)
	}
	return n
}

// Nodes are told to stop, one after the other, while users send POSTs through the
// front door: each of them is answered by some node, none is lost.
func TestStopLosesNoPost(t *testing.T) {
	c := started(t)
	rolling(t, c, door(t, c).http)
}

// rolling stops and starts the nodes in turn while POSTs go to the front door at the address.
func rolling(t *testing.T, c cluster, address string) {
	t.Helper()
	p := postTo(address, 32)
	var longest time.Duration
	for i := range stops(t) {
		n := c[i%len(c)]
		at := n.signal(syscall.SIGTERM)
		if code := n.exit(15 * time.Second); code != 0 {
			t.Errorf("%s: exit code %d", n.name, code)
		}
		longest = max(longest, time.Since(at))
		n.start()
		within(t, startLimit, n.name+" back", func() error {
			if status, _, err := n.ask("/readyz"); err != nil || status != http.StatusOK {
				return errEarly
			}
			return nil
		})
		until(time.Now().Add(300 * time.Millisecond)) // for front doors that have to find out
	}
	p.end(t)
	t.Logf("the longest of %d stops took %v", stops(t), longest)
}

// The same behind HAProxy, which learns from /readyz. Its checks must have marked a
// server as down within http.drain_notice.
func TestStopLosesNoPostBehindHAProxy(t *testing.T) {
	c := started(t)
	rolling(t, c, balancer(t, c, "haproxy", haproxyConf, "-db", "-f"))
}

// The same behind nginx, which asks nobody and learns of a stop from refused connections:
// so the node must lose none that it has accepted, and nginx must not keep idle ones for as
// long as http.drain_notice.
func TestStopLosesNoPostBehindNginx(t *testing.T) {
	c := started(t)
	rolling(t, c, balancer(t, c, "nginx", nginxConf, "-c"))
}

// balancer runs a program as the front door of the nodes; the conf file is its last argument.
func balancer(t *testing.T, c cluster, name string, conf func(c cluster, dir, address string) string, args ...string) (address string) {
	t.Helper()
	program, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: apt-get install %s, and have /usr/sbin in PATH", name, name)
	}
	address = freeAddress(t)
	dir := t.TempDir()
	file := filepath.Join(dir, name+".conf")
	if err := os.WriteFile(file, []byte(conf(c, dir, address)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, append(args, file)...)
	log := new(logBuffer)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // nginx ends its workers then
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

// haproxyConf is what operators would write for servers that drain.
func haproxyConf(c cluster, _, address string) string {
	conf := fmt.Sprintf(`defaults
	mode http
	timeout connect 5s
	timeout client 30s
	timeout server 30s
	option redispatch 1
	retries 3
frontend users
	bind %s
	default_backend nodes
backend nodes
	option httpchk GET /readyz
	default-server check inter 100ms fall 2 rise 1
`, address)
	for _, n := range c {
		_, port, _ := strings.Cut(n.admin, ":")
		conf += fmt.Sprintf("\tserver %s %s port %s\n", n.name, n.http, port)
	}
	return conf
}

func nginxConf(c cluster, dir, address string) string {
	var servers string
	for _, n := range c {
		servers += fmt.Sprintf("\t\tserver %s max_fails=0;\n", n.http)
	}
	return fmt.Sprintf(`daemon off;
worker_processes 2;
pid %[1]s/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	upstream nodes {
%[2]s		keepalive 32;
		keepalive_timeout 500ms;
	}
	server {
		listen %[3]s;
		location / {
			proxy_pass http://nodes;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_connect_timeout 3s;
			proxy_next_upstream error timeout http_503;
		}
	}
}
`, dir, servers, address)
}
