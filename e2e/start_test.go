package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/e2e/netns"
	"github.com/nodeserver/nodeserver/server/admin"
)

// exitLimit is for a node that can't start to say so and end.
const exitLimit = 15 * time.Second

// lone makes a node that expects nobody, on ports of its own.
func lone(t testing.TB, sets ...string) *node {
	t.Helper()
	return among(t, "n1", "", append([]string{"membership.providers=static", "membership.static=127.0.0.1:1"}, sets...)...)
}

// among makes a node of the name that looks for others at the address.
func among(t testing.TB, name, address string, sets ...string) *node {
	t.Helper()
	httpAt, admin, channel := freeAddress(t), freeAddress(t), freeAddress(t)
	n := newNode(t, name, "node1.toml", nil, append([]string{
		"node.name=" + name, "http.address=" + httpAt, "admin.address=" + admin, "channel.address=" + channel,
		"membership.providers=static", "membership.static=" + address,
	}, sets...)...)
	n.http, n.admin, n.channel = httpAt, admin, channel
	return n
}

// refuses fails the test unless the started node ends with exit code 1 and says
// this, and nothing else, to whoever started it.
func (n *node) refuses(t *testing.T, want string) {
	t.Helper()
	if code := n.exit(exitLimit); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if said := n.log.said(); said != "nodeserver: "+want+"\n" {
		t.Errorf("said\n%s\nwant\nnodeserver: %s", said, want)
	}
}

// What keeps a node from starting without anybody else.
func TestStartAlone(t *testing.T) {
	taken, err := net.Listen("tcp", freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	dir := t.TempDir()
	file := func(name string, size int, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, bytes.Repeat([]byte("x"), size), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	port := func(key string) (string, string) {
		_, number, _ := net.SplitHostPort(taken.Addr().String())
		return key + "=" + taken.Addr().String(), fmt.Sprintf(
			"%s: listen on %s: the port is taken by another process; see which with: ss -ltnp 'sport = :%s'", key, taken.Addr(), number)
	}
	for name, give := range map[string]func() (set, want string){
		"port of http":    func() (string, string) { return port("http.address") },
		"port of admin":   func() (string, string) { return port("admin.address") },
		"port of channel": func() (string, string) { return port("channel.address") },
		"no secret": func() (string, string) {
			path := filepath.Join(dir, "none")
			return "cluster.secret_file=" + path, fmt.Sprintf("cluster.secret_file: %s does not exist: make it with "+
				"`nodeserver secret new %s`, and copy it to each node that is to share it", path, path)
		},
		"readable secret": func() (string, string) {
			path := file("open", 32, 0o644)
			return "cluster.secret_file=" + path, fmt.Sprintf("cluster.secret_file: %s can be read by others (mode "+
				"0644): run `chmod 600 %s`", path, path)
		},
		"invented secret": func() (string, string) {
			path := file("invented", 32, 0o600)
			return "cluster.secret_file=" + path, fmt.Sprintf("cluster.secret_file: %s: it was not made by "+
				"\"nodeserver secret new\", and what people invent can be guessed; move it away, and make another "+
				"with `nodeserver secret new %s`", path, path)
		},
		"no plugin folder": func() (string, string) {
			path := filepath.Join(dir, "webapps")
			return "webapps.dir=" + path, fmt.Sprintf("look for webapps in %s: no such folder: run make webapps, "+
				"create it, or set webapps.dir", path)
		},
	} {
		set, want := give()
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := lone(t, set)
			n.start()
			n.refuses(t, want)
		})
	}
}

// Plugins that this node can't load: it says which, and why, before opening them. It
// serves the others, or with webapps.strict does not start.
func TestStartWithBadPlugin(t *testing.T) {
	good, err := os.ReadFile(filepath.Join(webapp, "bench.so"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		spoil func(plugin []byte) []byte
		want  string // with the file as %[1]s
	}{
		{
			"cut off", func(b []byte) []byte { return b[:len(b)/2] },
			"check plugin %[1]s: not a plugin, or cut off (EOF): copy or build it again",
		},
		{"empty", func([]byte) []byte { return nil }, "check plugin %[1]s: the file is empty: copy or build it again"},
		{
			"no plugin", func([]byte) []byte { return []byte("#!/bin/sh\n") },
			"check plugin %[1]s: not a plugin, or cut off (EOF): copy or build it again",
		},
		{"of another Go", otherGo, "plugin %[1]s does not fit this node:\n" +
			"nodeserver:   built by go1.99" + runtime.Version()[len("go1.26"):] + ", this node by " + runtime.Version() +
			": rebuild it with this nodeserver's build DIR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "bench.so")
			if err := os.WriteFile(file, tt.spoil(bytes.Clone(good)), 0o700); err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf(tt.want, file)
			n := lone(t, "webapps.dir="+filepath.Dir(file))
			n.start("--set", "webapps.strict=true")
			n.refuses(t, want)
			if err := os.Link(filepath.Join(webapp, "counter.so"), filepath.Join(filepath.Dir(file), "counter.so")); err != nil {
				t.Fatal(err)
			}
			n.log = new(logBuffer)
			n.start()
			within(t, startLimit, "ready without the bad plugin", func() error { return n.sees(n) })
			n.servesOnly(t, "counter", "bench", "it could not be loaded")
			_, body, err := n.ask("/api/v1/members")
			var reply admin.MembersReply
			if err := errors.Join(err, json.Unmarshal(body, &reply)); err != nil {
				t.Fatal(err)
			}
			want = strings.ReplaceAll(want, "\nnodeserver: ", "\n")
			if len(reply.Down) != 1 || reply.Down[0].Reason != want || reply.Down[0].Origin != file ||
				!slices.Equal(reply.Members[0].Apps, []string{"counter"}) {
				t.Errorf("got %s\nwant the reason %s", body, want)
			}
		})
	}
}

// servesOnly fails the test unless the one app is served and the other is 503, for this reason.
func (n *node) servesOnly(t *testing.T, up, down, reason string) {
	t.Helper()
	for path, want := range map[string]int{"/" + up + "/": http.StatusOK, "/" + down + "/x": http.StatusServiceUnavailable} {
		r, err := n.client.Get("http://" + n.http + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil || r.StatusCode != want {
			t.Errorf("%s: %s, %v, want %d", path, r.Status, err, want)
		}
		if says := "the app " + down + " is not served by this node: " + reason + "\n"; want != http.StatusOK && string(body) != says {
			t.Errorf("%s: %s, want %s", path, body, says)
		}
	}
}

// plugin builds a webapp from the source of its func Webapp, which has net/http, os and
// webapps at hand, and returns the folder that it lies in.
func plugin(t *testing.T, name, source string) (apps string) {
	t.Helper()
	dir, apps := filepath.Join(t.TempDir(), name), t.TempDir()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		"go.mod": "module example.org/" + name + "\n\ngo 1.26\n",
		"app.go": `package main

import (
	"context"
	"net/http"
	"os"

	"github.com/nodeserver/nodeserver/webapps"
)
` + source + `
var (
	_ = os.Exit
	_ context.Context
)

func main() {}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), bin, "build", dir, "-o", filepath.Join(apps, name+".so"), "--host-src", absolute(".."))
	cmd.Env = environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return apps
}

// An app whose New hangs keeps the node from nothing: not from stopping in that
// time, and not from serving the other apps after it.
func TestStartWithHangingApp(t *testing.T) {
	t.Parallel()
	apps := plugin(t, "hang", `
func Webapp() webapps.App {
	return webapps.App{Name: "hang", New: func(c webapps.Context) (http.Handler, error) {
		c.Logger().Info("hanging")
		select {}
	}}
}
`)
	if err := os.Link(filepath.Join(webapp, "counter.so"), filepath.Join(apps, "counter.so")); err != nil {
		t.Fatal(err)
	}
	n := lone(t, "webapps.dir="+apps)
	n.start()
	within(t, startLimit, "hanging", func() error {
		if strings.Contains(n.log.String(), "msg=hanging") {
			return nil
		}
		return errEarly
	})
	n.signal(syscall.SIGTERM)
	if code := n.exit(5 * time.Second); code != 0 {
		t.Errorf("told to stop while an app hangs: exit code %d", code)
	}
	n.start()
	within(t, 30*time.Second+startLimit, "ready without the app that hangs", func() error { return n.sees(n) })
	n.servesOnly(t, "counter", "hang", "it could not be started")
	n.signal(syscall.SIGTERM)
	if code := n.exit(5 * time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// Whenever SIGTERM comes in a start, the node ends at once: in order, or before
// there is any, by the signal itself.
func TestStopInStart(t *testing.T) {
	t.Parallel()
	for i := range 12 {
		n := lone(t)
		until(n.start().Add(time.Duration(i*i) * 4 * time.Millisecond))
		at := n.signal(syscall.SIGTERM)
		code := n.exit(10 * time.Second)
		signaled := n.cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled()
		if code != 0 && !signaled {
			t.Errorf("SIGTERM %v after the start: exit code %d\n%s", time.Duration(i*i)*4*time.Millisecond, code, n.log)
		}
		if took := time.Since(at); took > 5*time.Second {
			t.Errorf("ended %v after SIGTERM", took)
		}
	}
}

// otherGo makes a plugin say that it was built by Go 1.99.
func otherGo(plugin []byte) []byte {
	at := bytes.Index(plugin, []byte("\xff Go buildinf:"))
	at += bytes.Index(plugin[at:], []byte("go1."))
	copy(plugin[at:], "go1.99")
	return plugin
}

// A binary without cgo says that it can't load plugins, and runs without.
func TestStartWithoutCgo(t *testing.T) {
	t.Parallel()
	exe := filepath.Join(t.TempDir(), "nodeserver")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", exe, "../cmd/nodeserver")
	cmd.Env = append(environment("CGO_ENABLED"), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build without cgo: %v\n%s", err, out)
	}
	n := lone(t)
	n.exe = exe
	n.start("--set", "webapps.strict=true")
	var want []string
	files, err := filepath.Glob("../bin/webapps/*.so") // as conf/node1.toml has it
	if err != nil || len(files) == 0 {
		t.Fatalf("no plugins: %v", err)
	}
	for _, file := range files {
		want = append(
			want,
			"nodeserver: check plugin "+file+": this nodeserver was built with CGO_ENABLED=0 and can't load plugins: "+
				"build it with cgo (apt-get install gcc; make build), or leave [webapps] dir empty and link the apps in",
		)
	}
	n.refuses(t, strings.TrimPrefix(strings.Join(want, "\n"), "nodeserver: "))
	n.log = new(logBuffer)
	n.start("--set", "webapps.dir=")
	within(t, startLimit, "ready without plugins", func() error { return n.sees(n) })
}

// Where nothing leads multicast the node says so, with a command that cures it.
func TestStartWithoutMulticastRoute(t *testing.T) {
	t.Parallel()
	host := netns.Lo(t, "a")
	n := newNode(t, "n1", "node1.toml", host, "membership.providers=mdns", "membership.interface=lo")
	n.http, n.admin, n.channel = "127.0.0.1:8081", "127.0.0.1:9081", "127.0.0.1:4001"
	const cure = "ip route add 224.0.0.0/4 dev lo"
	n.start()
	n.refuses(t, "membership: no multicast over lo: no route for it; run: "+cure)
	host.IP(strings.Fields(cure)[1:]...)
	n.start()
	within(t, startLimit, "ready after the cure", func() error { return n.sees(n) })
}

// A node that is cut off from its whole list does not start with an empty memory
// as if it were alone, and says what it waits for; where members are expected, it
// waits on.
func TestStartCutOff(t *testing.T) {
	t.Parallel()
	network := netns.New(t)
	c := lanAt(t, network, "membership.providers=static", "membership.static=10.77.1.1:4001,10.77.1.2:4001", "replication.join_timeout=4s")
	first, second := c[0], c[1]
	first.start()
	within(t, startLimit, "first node ready", func() error { return first.sees(first) })
	first.host.Unplug()
	began := second.start()
	within(t, startLimit, "the reason", func() error {
		status, body, err := second.ask("/readyz")
		if err == nil && (status != 503 || !strings.Contains(string(body), "10.77.1.1:4001 does not answer")) {
			err = fmt.Errorf("readyz: %d %s", status, body)
		}
		return err
	})
	if took := since(t, began, startLimit, "ready alone", func() error { return second.sees(second) }); took < 4*time.Second {
		t.Errorf("cut off from the other, ready after %v", took)
	}
	second.kill()
	second.start("--set", "membership.expect=2")
	until(time.Now().Add(6 * time.Second))
	if status, body, err := second.ask("/readyz"); err != nil || status != 503 ||
		!strings.Contains(string(body), "2 members are expected") {
		t.Errorf("readyz where two are expected: %d %s, %v", status, body, err)
	}
	first.host.Plug()
	within(t, startLimit, "both", func() error { return all(c[:2], func(n *node) error { return n.sees(first, second) }) })
}

// What keeps a node from joining another one: both say it, the newcomer ends,
// and the other one goes on.
func TestStartBesideAnother(t *testing.T) {
	key, otherKey := secret(t), secret(t)
	const (
		stray   = "nodeserver: the node at FIRST is of another cluster, and no other was found: "
		secrets = "the cluster secrets differ: give both nodes the same [cluster] secret_file (or CA)"
		names   = `cluster names differ: n2 is of cluster "green", n1 of "blue": give both the same [cluster] name`
		plain   = "one side speaks TLS and the other doesn't: give both a [cluster] secret_file, or neither"
	)
	with := func(key string) string { return "cluster.secret_file=" + key }
	for _, tt := range []struct {
		name    string
		first   []string // of n1, which is there already
		second  []string // of n2, the newcomer
		begins  string   // what the newcomer says, at its beginning
		says    string   // and besides; FIRST and SECOND are the channels
		atFirst string   // in the log of the first
	}{
		{"wrong secret", []string{with(key)}, []string{with(otherKey)}, stray, secrets, secrets},
		{"other cluster name", []string{"cluster.name=blue"}, []string{"cluster.name=green"}, stray, names, names},
		{
			"other cluster name, same secret",
			[]string{"cluster.name=blue", with(key)},
			[]string{"cluster.name=green", with(key)},
			stray, names, names,
		},
		{"newcomer without TLS", []string{with(key)}, []string{with("")}, stray, plain, plain},
		{"newcomer with TLS", []string{with("")}, []string{with(key)}, stray, plain, plain},
		{
			"duplicate name", nil,
			[]string{"node.name=n1"},
			`nodeserver: node name "n1" is taken by the live node at FIRST: choose another [node] name` + "\n", "",
			`duplicate node name: "n1" at SECOND is taken by the live node at FIRST: choose another [node] name`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			first := among(t, "n1", "127.0.0.1:1", tt.first...)
			second := among(t, "n2", first.channel, tt.second...)
			first.start()
			within(t, startLimit, "first node ready", func() error { return first.sees(first) })
			second.start()
			if code := second.exit(exitLimit); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			addresses := strings.NewReplacer("FIRST", first.channel, "SECOND", second.channel)
			begins, said := addresses.Replace(tt.begins), second.log.said()
			if !strings.HasPrefix(said, begins) || !strings.Contains(said, tt.says) || strings.Count(said, "\n") != 1 {
				t.Errorf("said\n%s\nwant\n%s … %s", said, begins, tt.says)
			}
			log := strings.ReplaceAll(first.log.String(), `\"`, `"`)
			if want := addresses.Replace(tt.atFirst); !strings.Contains(log, want) {
				t.Errorf("the log of the first node does not say\n%s", want)
			}
			if err := first.sees(first); err != nil {
				t.Errorf("the first node suffered: %v", err)
			}
		})
	}
}
