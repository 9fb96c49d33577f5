package child

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain is also the parent that TestChildrenDieWithTheirParent kills.
func TestMain(m *testing.M) {
	if log := os.Getenv("CHILD_TEST_PARENT"); log != "" {
		p, err := Start("child", "", log, "sleep", "60")
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(p.cmd.Process.Pid)
		<-p.done
	}
	os.Exit(m.Run())
}

func TestChildrenDieWithTheirParent(t *testing.T) {
	parent := exec.CommandContext(t.Context(), os.Args[0])
	parent.Env = append(os.Environ(), "CHILD_TEST_PARENT="+filepath.Join(t.TempDir(), "log"))
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	child, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || !alive(child) {
		t.Fatalf("no child: %q", line)
	}
	_ = parent.Process.Kill()
	_ = parent.Wait() // it was killed
	if err := WaitFor(t.Context(), 5*time.Second, func() bool { return !alive(child) }); err != nil {
		_ = syscall.Kill(child, syscall.SIGKILL)
		t.Error("the child has outlived its parent")
	}
}

// alive tells whether the process runs; one that only waits to be reaped doesn't.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(b), ") ")
	return err == nil && !strings.HasPrefix(state, "Z")
}

func TestProcessEnds(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	run := func(script string) *Process {
		t.Helper()
		p, err := Start("sh", "", log, "sh", "-c", script)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := run("echo one; echo two; echo three")
	if err := WaitFor(t.Context(), 5*time.Second, p.Ended); err != nil {
		t.Fatal(err)
	}
	if got := p.Tail(2); got != "  two\n  three" {
		t.Errorf("tail %q", got)
	}
	run("trap 'echo in order; exit' TERM; echo up; while :; do sleep 0.01; done").stopWhenUp(t)
	if got := p.Tail(1); got != "  in order" {
		t.Errorf("after SIGTERM: %q", got)
	}
	deaf := run("trap '' TERM; echo up; while :; do sleep 0.01; done")
	deaf.stopWhenUp(t)
	if !deaf.Ended() {
		t.Error("outlived its grace")
	}
}

func (p *Process) stopWhenUp(t *testing.T) {
	t.Helper()
	if err := WaitFor(t.Context(), 5*time.Second, func() bool { return p.Tail(1) == "  up" }); err != nil {
		t.Fatal(err)
	}
	p.Stop(100 * time.Millisecond)
}

func TestStartOfWhatIsNotThere(t *testing.T) {
	_, err := Start("n1", "", filepath.Join(t.TempDir(), "log"), "/nowhere/nodeserver")
	if !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "start n1: ") {
		t.Errorf("%v", err)
	}
}

func TestEnvironmentOfChildren(t *testing.T) {
	t.Setenv("NODESERVER_HTTP_ADDRESS", "127.0.0.1:1")
	for _, v := range environment() {
		if strings.HasPrefix(v, "NODESERVER_") {
			t.Errorf("passed on: %s", v)
		}
	}
}
