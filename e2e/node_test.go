package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/e2e/netns"
	"github.com/nodeserver/nodeserver/server/admin"
)

// node is one node: where it listens, and its present process. One goroutine
// at a time starts and ends it; the rest may be called from any.
type node struct {
	t                    testing.TB
	name                 string
	exe                  string
	args                 []string // of nodeserver run
	http, admin, channel string
	host                 *netns.Host // nil: this machine's own network
	token                string      // of the admin address; empty: none
	client               *http.Client
	log                  *logBuffer // of all its processes

	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// newNode makes a node that is not started yet. The file is one of conf/.
func newNode(t testing.TB, name, file string, host *netns.Host, sets ...string) *node {
	t.Helper()
	n := &node{t: t, name: name, exe: bin, host: host, log: new(logBuffer), args: []string{"run", "--conf", "../conf/" + file}}
	for _, s := range sets {
		n.args = append(n.args, "--set", s)
	}
	transport := &http.Transport{DialContext: n.dial, MaxIdleConnsPerHost: 64}
	n.client = &http.Client{Transport: transport, Timeout: 15 * time.Second}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		n.kill()
		if t.Failed() {
			t.Logf("%s, last lines of its log:\n%s", n.name, n.log.tail(40))
		}
	})
	return n
}

// dial dials from the node's own host.
func (n *node) dial(ctx context.Context, network, addr string) (c net.Conn, err error) {
	var d net.Dialer
	if n.host == nil {
		return d.DialContext(ctx, network, addr)
	}
	n.host.Do(func() { c, err = d.DialContext(ctx, network, addr) })
	return c, err
}

// start starts a process. The moment is that before the start.
func (n *node) start(more ...string) time.Time {
	n.t.Helper()
	args := append(append([]string{}, n.args...), more...)
	n.cmd = exec.Command(n.exe, args...)
	if n.host != nil {
		n.cmd = n.host.Command(context.Background(), n.exe, args...)
	}
	n.cmd.Stdout, n.cmd.Stderr, n.cmd.Env = n.log, n.log, environment()
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	n.done = make(chan struct{})
	started, begin := make(chan error), time.Now()
	go func(cmd *exec.Cmd, done chan struct{}) {
		runtime.LockOSThread() // a death signal comes when the thread ends that started the child
		defer runtime.UnlockOSThread()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in cmd.ProcessState
		}
	}(n.cmd, n.done)
	if err := <-started; err != nil {
		n.t.Fatalf("start %s: %v", n.name, err)
	}
	return begin
}

// signal sends a signal, which a process that has ended doesn't get.
func (n *node) signal(s syscall.Signal) time.Time {
	at := time.Now()
	_ = n.cmd.Process.Signal(s)
	for s == syscall.SIGSTOP && time.Since(at) < time.Second { // it stops a moment after it was told
		if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.cmd.Process.Pid)); bytes.Contains(b, []byte(") T ")) {
			break
		}
	}
	return at
}

// kill ends the process as kill -9 does, if there is one, and waits for its end.
func (n *node) kill() time.Time {
	at := time.Now()
	if n.cmd != nil && n.cmd.Process != nil {
		_ = n.cmd.Process.Kill()
		<-n.done
	}
	return at
}

// exit waits for the process to end by itself and returns its exit code.
func (n *node) exit(limit time.Duration) int {
	n.t.Helper()
	select {
	case <-n.done:
		return n.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		n.t.Fatalf("%s has not ended within %v", n.name, limit)
		return -1
	}
}

// ask asks the admin address.
func (n *node) ask(path string) (status int, body []byte, err error) {
	q, err := http.NewRequest(http.MethodGet, "http://"+n.admin+path, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	if n.token != "" {
		q.Header.Set("Authorization", "Bearer "+n.token)
	}
	r, err := n.client.Do(q)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = r.Body.Close() }()
	body, err = io.ReadAll(r.Body)
	return r.StatusCode, body, err
}

// members is what the node says of all.
func (n *node) members() ([]admin.MemberRow, error) {
	status, body, err := n.ask("/api/v1/members")
	if err != nil {
		return nil, err
	}
	var reply admin.MembersReply
	if err := json.Unmarshal(body, &reply); err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("%s: members: status %d, %w", n.name, status, err)
	}
	return reply.Members, nil
}

// sees says what is missing for the node to be ready and to see exactly these
// nodes, ready and with nothing left to tell or to be told.
func (n *node) sees(nodes ...*node) error {
	rows, err := n.members()
	if err != nil {
		return err
	}
	there, good := 0, 0
	for _, r := range rows {
		if r.State != "gone" {
			there++
		}
		for _, want := range nodes {
			if r.Name == want.name && r.State == "alive" && r.Ready && (r.Self || r.InSync && r.Queue == 0) {
				good++
			}
		}
	}
	if there != len(nodes) || good != len(nodes) {
		return fmt.Errorf("%s sees %+v", n.name, rows)
	}
	return nil
}

// lost says what is missing for the node to see another one as gone.
func (n *node) lost(other *node) error {
	rows, err := n.members()
	if err != nil {
		return err
	}
	for _, r := range rows {
		if r.Name == other.name && r.State != "gone" {
			return fmt.Errorf("%s sees %+v", n.name, r)
		}
	}
	return nil
}

// logBuffer keeps what processes write.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logBuffer) tail(lines int) string {
	all := strings.Split(strings.TrimRight(l.String(), "\n"), "\n")
	return "  " + strings.Join(all[max(0, len(all)-lines):], "\n  ")
}

// said is what a command that failed says to people: the lines which are no log.
func (l *logBuffer) said() string {
	var said []string
	for line := range strings.Lines(l.String()) {
		if !strings.HasPrefix(line, "time=") {
			said = append(said, line)
		}
	}
	return strings.Join(said, "")
}

// within polls until is returns nil.
func within(t testing.TB, limit time.Duration, what string, is func() error) {
	t.Helper()
	since(t, time.Now(), limit, what, is)
}

// since polls until is returns nil and returns how long that took from the beginning.
func since(t testing.TB, begin time.Time, limit time.Duration, what string, is func() error) time.Duration {
	t.Helper()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		err := is()
		took := time.Since(begin)
		switch {
		case err == nil:
			return took
		case took > limit:
			t.Fatalf("%s: not within %v: %v", what, limit, err)
		}
		<-poll.C
	}
}

// errEarly is what a condition says that has nothing else to say.
var errEarly = errors.New("not yet")

// until lets time pass where that is what is tested.
func until(at time.Time) { <-time.After(time.Until(at)) }

// all is the first error that each returns.
func all(nodes []*node, each func(*node) error) error {
	for _, n := range nodes {
		if err := each(n); err != nil {
			return err
		}
	}
	return nil
}

var ports = struct {
	sync.Mutex
	given map[string]bool
}{given: map[string]bool{}}

// freeAddress is a loopback address nobody listens on. The port is below the
// range from which the kernel takes those of outgoing connections: a node that
// is started again finds it free.
func freeAddress(t testing.TB) string {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000))
		if ports.given[addr] {
			continue
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		_ = l.Close()
		ports.given[addr] = true
		return addr
	}
	t.Fatal("no free ports on 127.0.0.1 between 10000 and 30000")
	return ""
}
