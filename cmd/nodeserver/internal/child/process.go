// Package child runs nodes and balancers as child processes, which end with this one.
package child

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Process is one child. Its log outlives it: a revived node appends to it.
type Process struct {
	Name string
	Log  string // file
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// Start runs exe with the arguments, in dir. What it prints is appended to the file log.
func Start(name, dir, log, exe string, args ...string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", name, err)
	}
	defer out.Close() //nolint:errcheck // the child's copy counts
	p, err := StartTo(out, name, dir, exe, args...)
	if err == nil {
		p.Log = log
	}
	return p, err
}

// StartTo is Start for a writer, which must bear to be used by several goroutines.
func StartTo(out io.Writer, name, dir, exe string, args ...string) (*Process, error) {
	cmd := exec.Command(exe, args...) //nolint:noctx // ended in order by stop, not by a context
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	cmd.SysProcAttr = attributes()
	cmd.Env = environment()
	p := &Process{Name: name, cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// run starts the child and waits for its end on one thread: a death signal
// comes when the thread ends that started the child.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	err := p.cmd.Start()
	started <- err
	if err == nil {
		_ = p.cmd.Wait() // how it ended is in its log
	}
}

// environment is ours without what would change the children's conf.
func environment() (env []string) {
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "NODESERVER_") {
			env = append(env, v)
		}
	}
	return env
}

// Kill ends the process as kill -9 does, and waits until it is gone. It tells
// when the signal was sent.
func (p *Process) Kill() time.Time {
	at := time.Now()
	_ = p.cmd.Process.Kill()
	<-p.done
	return at
}

// Stop ends the process in order, or after grace by force.
func (p *Process) Stop(grace time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(grace):
		p.Kill()
	}
}

// Ended tells whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Tail is the last lines of the log, indented.
func (p *Process) Tail(lines int) string {
	b, err := os.ReadFile(p.Log)
	if err != nil {
		return "  " + err.Error()
	}
	all := bytes.Split(bytes.TrimRight(b, "\n"), []byte("\n"))
	all = all[max(0, len(all)-lines):]
	return "  " + string(bytes.Join(all, []byte("\n  ")))
}

// ErrWaited is what WaitFor returns when the time is over.
var ErrWaited = errors.New("not in time")

// WaitFor polls until is holds, ctx ends, or the time is over.
func WaitFor(ctx context.Context, limit time.Duration, is func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, ErrWaited)
	defer cancel()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for !is() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-poll.C:
		}
	}
	return nil
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }
