package netns

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestHostsReachEachOtherUntilTheCableIsPulled(t *testing.T) {
	n := New(t)
	a, b := n.Host("a"), n.Host("b")
	var l net.Listener
	var err error
	b.Do(func() { l, err = net.Listen("tcp4", b.Address+":4001") })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	dial := func() error {
		var err error
		a.Do(func() {
			var c net.Conn
			if c, err = net.DialTimeout("tcp4", l.Addr().String(), 300*time.Millisecond); err == nil {
				_ = c.Close()
			}
		})
		return err
	}
	if err := dial(); err != nil {
		t.Error(err)
	}
	b.Unplug()
	if dial() == nil {
		t.Error("dialled through a pulled cable")
	}
	b.Plug()
	end := time.Now().Add(5 * time.Second)
	for err = dial(); err != nil && time.Now().Before(end); {
		err = dial()
	}
	if err != nil {
		t.Errorf("the cable is back, but: %v", err)
	}
	if routes := b.IP("route"); !strings.Contains(routes, "default dev eth0") {
		t.Errorf("a pulled cable took routes along: %s", routes)
	}
}

func TestCommandRunsInside(t *testing.T) {
	h := New(t).Host("a")
	out, err := h.Command(t.Context(), "ip", "-4", "-brief", "addr").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "10.77.1.1/24") || strings.Count(string(out), "\n") != 2 {
		t.Errorf("got %s, %v", out, err)
	}
}

// What a test leaves running and standing is gone after it, also if it failed.
func TestCleanup(t *testing.T) {
	var ns []string
	var cmd *exec.Cmd
	t.Run("inner", func(t *testing.T) {
		n := New(t)
		h := n.Host("a")
		ns = []string{n.sw, h.Namespace}
		cmd = h.Command(context.Background(), "sleep", "600")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		end := time.Now().Add(5 * time.Second)
		for !strings.Contains(run(t, "netns", "pids", h.Namespace), fmt.Sprint(cmd.Process.Pid)) {
			if time.Now().After(end) {
				t.Fatal("the process did not come up inside, or under another id")
			}
		}
	})
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the process ended with %v", err)
	}
	for _, s := range ns {
		if slices.Contains(namespaces(), s) {
			t.Errorf("namespace %s is left", s)
		}
	}
}

func TestSweepTakesWhatDeadRunsLeft(t *testing.T) {
	require(t)
	dead := exec.CommandContext(t.Context(), "true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	old := fmt.Sprintf("%s%d-1-old", prefix, dead.Process.Pid)
	run(t, "netns", "add", old)
	sweep()
	if slices.Contains(namespaces(), old) {
		t.Errorf("namespace %s is left", old)
		_ = remove(old)
	}
}
