package netns

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Host is a machine as far as its network goes.
type Host struct {
	Namespace string // as "ip netns" knows it
	Address   string // IPv4 address of eth0; 127.0.0.1 for a host without network

	tb   testing.TB
	net  *Net   // nil: none
	port string // the bridge's end of the cable
}

// Lo makes a host that has only a loopback interface, which is up, and no route.
func Lo(tb testing.TB, name string) *Host {
	tb.Helper()
	h := &Host{Namespace: namespace(tb, name), Address: "127.0.0.1", tb: tb}
	h.IP("link", "set", "lo", "up")
	return h
}

// IP runs the ip command inside, like IP("route", "add", …), and returns what it
// printed. It ends the test if that goes wrong.
func (h *Host) IP(args ...string) string {
	h.tb.Helper()
	return run(h.tb, append([]string{"-n", h.Namespace}, args...)...)
}

// Command is a process inside, ready to be started; it has the process id that
// cmd.Process says. It is killed when ctx ends, and at the latest with the test.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", h.Namespace, name}, args...)...)
}

// Unplug pulls the cable: the host's eth0 has no carrier, its addresses and
// routes stay. Connections hang, nobody is told.
func (h *Host) Unplug() { h.tb.Helper(); h.net.ip("link", "set", h.port, "down") }

// Plug puts the cable back.
func (h *Host) Plug() { h.tb.Helper(); h.net.ip("link", "set", h.port, "up") }

// Do runs f inside and waits for it: sockets that f opens itself belong to the
// host and may be used anywhere afterwards. If the host can't be entered, the
// test is marked as failed and f is not called. Goroutines that f starts run
// outside, so f must open its sockets itself, and look up no host names.
func (h *Host) Do(f func()) {
	h.tb.Helper()
	done := make(chan error)
	go func() {
		// Never unlocked: the thread, which is of no other use, ends with the goroutine.
		runtime.LockOSThread()
		if err := h.enter(); err != nil {
			done <- err
			return
		}
		defer close(done)
		f()
	}()
	if err := <-done; err != nil {
		h.tb.Error(err) // not Fatal: Do may run on any goroutine
	}
}

func (h *Host) enter() error {
	path := "/run/netns/" + h.Namespace
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer func() { _ = unix.Close(fd) }() // was only read
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter %s: %w", path, err)
	}
	return nil
}
