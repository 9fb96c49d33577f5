package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// cpu is the processor time that a process has used, its children's apart.
func cpu(b testing.TB, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ") // after the name, the fields begin with the third
	fields := strings.Fields(rest)
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		b.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// frontDoors are where each balancer serves, and the process that does.
func frontDoors(b *testing.B, c cluster) map[string]*node {
	b.Helper()
	doors := map[string]*node{"nodeserver": door(b, c)}
	for _, name := range []string{"haproxy", "caddy"} {
		at := freeAddress(b)
		conf, err := exec.Command(bin, "lb-config", name, "--admin", c[0].admin, "--listen", at).Output()
		if err != nil {
			b.Fatal(err)
		}
		file := filepath.Join(b.TempDir(), name+".conf")
		if err := os.WriteFile(file, conf, 0o600); err != nil {
			b.Fatal(err)
		}
		cmd := exec.Command(balancers[name].program, balancers[name].args(file, "")...)
		cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+b.TempDir(), "XDG_CONFIG_HOME="+b.TempDir())
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
		})
		doors[name] = &node{name: name, http: at, cmd: cmd}
	}
	return doors
}

// BenchmarkFrontDoors is what a request costs each balancer before the same three nodes: 64 clients
// that keep their connections. Run it on a machine that does nothing else:
//
//	go test ./e2e -run '^$' -bench FrontDoors -benchtime 50000x -count 5
func BenchmarkFrontDoors(b *testing.B) {
	const workers = 64
	c := started(b)
	doors := frontDoors(b, c)
	client := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	get := func(d *node) error {
		res, err := client.Get("http://" + d.http + "/bench/raw")
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
			return fmt.Errorf("%s %w", res.Status, err)
		}
		return nil
	}
	for _, name := range []string{"nodeserver", "haproxy", "caddy"} {
		d := doors[name]
		within(b, startLimit, name+" ready", func() error { return get(d) })
		b.Run(name, func(b *testing.B) {
			took := make([]time.Duration, b.N)
			var next atomic.Int64
			var all sync.WaitGroup
			before := cpu(b, d.cmd.Process.Pid)
			for range workers {
				all.Go(func() {
					for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
						began := time.Now()
						if err := get(d); err != nil {
							b.Error(err)
							return
						}
						took[i] = time.Since(began)
					}
				})
			}
			all.Wait()
			used := cpu(b, d.cmd.Process.Pid) - before
			b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-µs/request")
			b.ReportMetric(float64(quantile(took).Microseconds())/1000, "p99-ms")
		})
	}
}
