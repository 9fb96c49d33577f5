package netns

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Env is the environment variable that, set to 1, turns tests with namespaces
// into skipped ones.
const Env = "NODESERVER_NO_NETNS"

const prefix = "nstest-"

// Net is a bridge to which hosts are attached. Its methods are for the test's
// goroutine; they end the test if the network can't be made.
type Net struct {
	tb    testing.TB
	sw    string // the bridge's namespace
	hosts int
}

// New makes a network without hosts, for this test. It skips the test where
// [Env] says so.
func New(tb testing.TB) *Net {
	tb.Helper()
	n := &Net{tb: tb, sw: namespace(tb, "bridge")}
	n.ip("link", "add", "br0", "type", "bridge", "forward_delay", "0")
	n.ip("link", "set", "br0", "up")
	return n
}

// Host attaches a host to the bridge by eth0, with address 10.77.1.N/24, N
// counting from 1, and a default route that leads to the bridge. The name is
// for people: at most 8 of a-z, 0-9.
func (n *Net) Host(name string) *Host {
	n.tb.Helper()
	n.hosts++
	h := Lo(n.tb, name)
	h.net, h.port = n, fmt.Sprintf("p%d-%s", n.hosts, name)
	h.Address = fmt.Sprintf("10.77.1.%d", n.hosts)
	n.ip("link", "add", h.port, "type", "veth", "peer", "name", "eth0", "netns", h.Namespace)
	n.ip("link", "set", h.port, "master", "br0", "up")
	h.IP("addr", "add", h.Address+"/24", "broadcast", "+", "dev", "eth0")
	h.IP("link", "set", "eth0", "up")
	h.IP("route", "add", "default", "dev", "eth0")
	return h
}

func (n *Net) ip(args ...string) {
	n.tb.Helper()
	run(n.tb, append([]string{"-n", n.sw}, args...)...)
}

// namespace makes a namespace and has it deleted at the end of the test.
func namespace(tb testing.TB, name string) string {
	tb.Helper()
	require(tb)
	sweep()
	ns := fmt.Sprintf("%s%d-%08x-%s", prefix, os.Getpid(), rand.Uint32(), name)
	run(tb, "netns", "add", ns)
	tb.Cleanup(func() {
		if err := remove(ns); err != nil {
			tb.Errorf("delete network namespace %s: %v", ns, err)
		}
	})
	return ns
}

// require ends the test where namespaces can't be made.
func require(tb testing.TB) {
	tb.Helper()
	if os.Getenv(Env) == "1" {
		tb.Skip("not run: it needs network namespaces, and " + Env + "=1 is set")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		tb.Fatalf("this test needs the ip command; run: apt-get install iproute2 (or leave such tests out: %s=1)", Env)
	}
	if os.Geteuid() != 0 {
		tb.Fatalf("this test makes network namespaces, which takes root; run it as root (or leave such tests out: %s=1)", Env)
	}
}

func namespaces() []string {
	files, err := os.ReadDir("/run/netns")
	if err != nil {
		return nil // none was ever made
	}
	var list []string
	for _, f := range files {
		list = append(list, f.Name())
	}
	return list
}

// sweep deletes what test runs left that no longer exist. Another's may be
// deleted by two at once, so errors mean nothing.
func sweep() {
	for _, ns := range namespaces() {
		rest, ours := strings.CutPrefix(ns, prefix)
		pid, _, _ := strings.Cut(rest, "-")
		n, err := strconv.Atoi(pid)
		if ours && err == nil && syscall.Kill(n, 0) == syscall.ESRCH {
			_ = remove(ns)
		}
	}
}

// remove kills all processes of a namespace, which are ours since it is, and
// deletes it. Interfaces and bridges in it go along.
func remove(ns string) error {
	out, err := output("netns", "pids", ns)
	if err != nil {
		return err
	}
	for s := range strings.FieldsSeq(out) {
		if pid, err := strconv.Atoi(s); err == nil && pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGKILL) // may have ended by itself
		}
	}
	_, err = output("netns", "del", ns)
	return err
}

func run(tb testing.TB, args ...string) string {
	tb.Helper()
	out, err := output(args...)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// output runs ip. No context: cleaning up happens after the test's has ended.
func output(args ...string) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.Command("ip", args...) //nolint:noctx // takes milliseconds, also at the end of a test
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}
