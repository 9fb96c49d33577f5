package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is a running nodeserver whose log is read as it comes.
type process struct {
	cmd  *exec.Cmd
	log  chan map[string]any // one line each; closed at the end
	rest []string            // lines that are not JSON, valid once log is closed

	stderr io.Closer // the end that we read
}

// start starts nodeserver run with free ports and waits until it is up.
func start(t *testing.T, sets ...string) (p *process, started map[string]any) {
	t.Helper()
	conf := file(t, "n1.toml", `[node]
name = "n1"
[http]
address = "127.0.0.1:0"
read_header_timeout = "1m"
[admin]
address = "127.0.0.1:0"
[channel]
address = "127.0.0.1:0"
[membership]
providers = []
[log]
format = "json"
`)
	args := []string{"run", "--conf", conf}
	for _, s := range sets {
		args = append(args, "--set", s)
	}
	p = launch(t, args...)
	return p, p.await(t, "node started")
}

// launch starts nodeserver with the arguments.
func launch(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{cmd: command(t, args...), log: make(chan map[string]any, 100)}
	p.start(t)
	return p
}

// start starts the process and reads its log.
func (p *process) start(t *testing.T) {
	t.Helper()
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.stderr = stderr
	go p.read(stderr)
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended long since
		p.drain()
		_ = p.cmd.Wait()
	})
}

func (p *process) read(r io.Reader) {
	defer close(p.log)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var line map[string]any
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			p.rest = append(p.rest, lines.Text())
			continue
		}
		p.log <- line
	}
}

// await reads the log up to the message.
func (p *process) await(t *testing.T, message string) map[string]any {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case line, ok := <-p.log:
			if !ok {
				t.Fatalf("ended before %q: %q", message, p.rest)
			}
			if line["msg"] == message {
				return line
			}
		case <-deadline:
			t.Fatalf("no %q in 20 s", message)
		}
	}
}

// drain reads the log to its end.
func (p *process) drain() {
	for range p.log {
	}
}

// exit waits for the end and returns the exit code.
func (p *process) exit(t *testing.T) int {
	t.Helper()
	p.drain()
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func TestSignalLetsLeaveInOrder(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p, _ := start(t)
		p.signal(t, sig)
		p.await(t, "stopped")
		if code := p.exit(t); code != exitGood || len(p.rest) > 0 {
			t.Errorf("%s: exit code %d, printed %q", sig, code, p.rest)
		}
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	p, started := start(t, "http.shutdown_grace=1m")
	// A request that is never finished keeps the node from leaving.
	c, err := net.Dial("tcp", started["http"].(string))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n"); err != nil {
		t.Fatal(err)
	}
	// Connections are accepted in order: when a later one has its answer, that one is there.
	resp, err := http.Get("http://" + started["http"].(string))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	p.signal(t, syscall.SIGTERM)
	p.await(t, "stopping")
	p.signal(t, syscall.SIGINT)
	want := "nodeserver: interrupt, the second signal: ended at once, in no order"
	if code := p.exit(t); code != exitNot || len(p.rest) != 1 || p.rest[0] != want {
		t.Errorf("exit code %d, printed %q, want %q", code, p.rest, want)
	}
}

// GNU timeout sends two: to the process, and to its group.
func TestTwoTermsAtOnceAreOne(t *testing.T) {
	p, _ := start(t)
	p.signal(t, syscall.SIGTERM)
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	p.await(t, "stopped")
	if code := p.exit(t); code != exitGood || len(p.rest) > 0 {
		t.Errorf("exit code %d, printed %q", code, p.rest)
	}
}

// What log rotation and a closed pipe send ends no daemon.
func TestSignalsThatEndNothing(t *testing.T) {
	balancer := file(
		t,
		"balance.toml",
		"[balance]\naddress = \"127.0.0.1:0\"\n[membership]\nproviders = [\"static\"]\nstatic = [\"127.0.0.1:1\"]\n[log]\nformat = \"json\"\n",
	)
	node, _ := start(t)
	for name, p := range map[string]*process{"node": node, "balancer": launch(t, "balance", "--conf", balancer)} {
		t.Run(name, func(t *testing.T) {
			if name == "balancer" {
				p.await(t, "balancer open")
			}
			p.signal(t, syscall.SIGUSR1)
			if line := p.await(t, "nothing was changed"); line["signal"] != syscall.SIGUSR1.String() {
				t.Errorf("without log.file: logged %v", line)
			}
			p.signal(t, syscall.SIGPIPE)
			p.signal(t, syscall.SIGHUP)
			p.await(t, "configuration read anew")
			p.signal(t, syscall.SIGTERM)
			if code := p.exit(t); code != exitGood {
				t.Errorf("exit code %d, printed %q", code, p.rest)
			}
		})
	}
}

// A log that nobody reads any more is no reason to end: the node serves on.
func TestClosedLogEndsNothing(t *testing.T) {
	p, started := start(t, "log.level=debug")
	_ = p.stderr.Close()
	p.drain()
	for range 3 { // each logs something
		p.signal(t, syscall.SIGHUP)
		resp, err := http.Get("http://" + started["admin"].(string) + "/livez")
		if err != nil {
			t.Fatalf("the node has ended: %v", err)
		}
		_ = resp.Body.Close()
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != exitGood {
		t.Errorf("exit code %d", code)
	}
}

// A node that has no descriptor left says so, once, and with what limit; so does its start.
func TestFewDescriptors(t *testing.T) {
	conf := file(
		t,
		"n1.toml",
		"[http]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n[channel]\naddress = \"127.0.0.1:0\"\n[membership]\nproviders = []\n[log]\nformat = \"json\"\n",
	)
	p := &process{cmd: command(t, "run", "--conf", conf, "--set", "http.max_connections=1000"), log: make(chan map[string]any, 100)}
	p.cmd.Args = append([]string{"sh", "-c", `ulimit -n 40; exec "$0" "$@"`, p.cmd.Path}, p.cmd.Args[1:]...)
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Path = sh
	p.start(t)
	if line := p.await(
		t,
		"this process may have few files and connections open: raise the limit (ulimit -n, LimitNOFILE in a systemd unit)",
	); line["limit"] != 40.0 {
		t.Errorf("%v", line)
	}
	address := p.await(t, "node started")["http"].(string)
	for range 60 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
	}
	line := p.await(t, "connections can't be accepted")
	for line["listener"] != "http" { // each listener says so itself
		line = p.await(t, "connections can't be accepted")
	}
	if text, _ := line["err"].(string); line["level"] != "WARN" || line["descriptors"] != 40.0 ||
		!strings.Contains(text, "too many open files") {
		t.Errorf("%v", line)
	}
}

func TestRunSaysWhyNot(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	conf := file(
		t,
		"n1.toml",
		"[http]\naddress = \""+l.Addr().String()+"\"\n[admin]\naddress = \"127.0.0.1:0\"\n[channel]\naddress = \"127.0.0.1:0\"\n[membership]\nproviders = []\n",
	)
	code, stdout, stderr := nodeserver(t, nil, "run", "--conf", conf, "--set", "log.level=error")
	if code != exitNot || stdout != "" || strings.Count(stderr, "\n") != 1 ||
		!strings.HasPrefix(stderr, "nodeserver: http.address: listen on "+l.Addr().String()+": ") {
		t.Errorf("exit code %d, printed %q and %q", code, stdout, stderr)
	}
}

func TestMembersOfRunningNode(t *testing.T) {
	_, started := start(t)
	code, stdout, stderr := nodeserver(t, nil, "members", "--admin", started["admin"].(string))
	lines := strings.Split(stdout, "\n")
	if code != exitGood || stderr != "" || len(lines) < 3 ||
		strings.Join(strings.Fields(lines[0]), " ") != "NAME STATE READY CHANNEL HTTP APPS SESSIONS QUEUE" ||
		!strings.HasPrefix(lines[1], "n1*   alive  ") || !strings.Contains(lines[1], started["http"].(string)) {
		t.Errorf("exit code %d, printed\n%s%s", code, stdout, stderr)
	}
}
