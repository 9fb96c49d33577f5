package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// say runs a command of nodeserver to its end.
func say(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, wrong bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = environment(), &out, &wrong
	_ = cmd.Run() // its exit code tells
	return cmd.ProcessState.ExitCode(), out.String(), wrong.String()
}

// behind runs a test behind our own balancer and behind HAProxy, each with nodes of its own.
func behind(t *testing.T, test func(t *testing.T, front string, c cluster, address string)) {
	t.Helper()
	for _, front := range []string{"nodeserver balance", "haproxy"} {
		t.Run(front, func(t *testing.T) {
			c := started(t)
			if front == "haproxy" {
				test(t, front, c, balancer(t, c, front))
			} else {
				test(t, front, c, door(t, c).http)
			}
		})
	}
}

// Users of a node that is drained go to the others without a failed request, behind our own
// balancer and behind HAProxy, and come back after undrain.
func TestDrainMovesUsers(t *testing.T) {
	behind(t, func(t *testing.T, front string, c cluster, address string) {
		users := clientsOf(address, 24, load{postEvery: 3})
		until(time.Now().Add(time.Second))
		if o := users.next(); o.requests == 0 || o.failed+o.cut > 0 {
			t.Errorf("before: %+v", o)
		}
		code, stdout, stderr := say(t, "drain", "n1", "--admin", c[1].admin) // by another node
		if code != 0 || !strings.HasPrefix(stdout, "n1 drains: ") {
			t.Fatalf("drain: exit code %d, %s%s", code, stdout, stderr)
		}
		within(t, 10*time.Second, "nobody is at n1", func() error {
			users.next()
			until(time.Now().Add(300 * time.Millisecond))
			code, stdout, stderr = say(t, "drain", "n1", "--wait", "--timeout", "5s", "--admin", c[2].admin)
			before := served(t, c[0])
			until(time.Now().Add(300 * time.Millisecond))
			if n := served(t, c[0]) - before; code != 0 || n > 0 {
				return fmt.Errorf("%d requests, exit code %d, %s%s", n, code, stdout, stderr)
			}
			return nil
		})
		if stdout != "n1 drains: no request in flight, all members have its sessions\n" {
			t.Errorf("drain --wait: %s", stdout)
		}
		if status, body, err := c[0].ask(
			"/readyz",
		); err != nil || status != http.StatusServiceUnavailable ||
			string(body) != "draining\n" {
			t.Errorf("/readyz: %d %s %v", status, body, err)
		}
		if _, stdout, _ := say(t, "members", "--admin", c[1].admin); !strings.Contains(stdout, "draining") {
			t.Errorf("members does not show it:\n%s", stdout)
		}
		o := users.next()
		if code, _, stderr = say(t, "undrain", "n1", "--admin", c[2].admin); code != 0 {
			t.Errorf("undrain: %s", stderr)
		}
		audited(t, c[1], "drain", "member=n1")
		audited(t, c[0], "drain", `from="member n2"`)
		audited(t, c[2], "undrain", "member=n1")
		audited(t, c[0], "undrain", `from="member n3"`)
		through := &node{t: t, name: front, http: address, client: c[0].client}
		within(t, 20*time.Second, "users come to n1 again", func() error { // few at first: it starts slowly
			before := served(t, c[0])
			for range 20 {
				new(user).ok(t, through, "inc")
			}
			if served(t, c[0]) == before {
				return errEarly
			}
			return nil
		})
		if after := users.end(); after.failed+after.cut+o.failed+o.cut > 0 {
			t.Errorf("requests failed: %+v, %+v", o, after)
		}
	})
}

// audited checks that a node has written down a change, with the operator's name.
func audited(t *testing.T, n *node, action, more string) {
	t.Helper()
	for line := range strings.Lines(n.log.String()) {
		if strings.Contains(line, "msg=audit") && strings.Contains(line, " action="+action+" ") && strings.Contains(line, more) &&
			strings.Contains(line, "result=done") && !strings.Contains(line, `actor=""`) {
			return
		}
	}
	t.Errorf("%s has not written down %s, %s", n.name, action, more)
}

// served is how many requests of users have come to a node.
func served(t *testing.T, n *node) (count int) {
	t.Helper()
	_, body, err := n.ask("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if _, err := fmt.Sscanf(line, "nodeserver_http_requests_total %d", &count); err == nil {
			return count
		}
	}
	t.Fatalf("%s does not count requests", n.name)
	return 0
}

// keeper restarts nodes when a file with their name appears, as a service manager would: a
// node must be the child of the test to end with it.
func keeper(t *testing.T, c cluster) (command string) {
	t.Helper()
	dir := t.TempDir()
	ended, stop := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
			for _, n := range c {
				if os.Remove(filepath.Join(dir, n.name)) != nil {
					continue
				}
				n.signal(syscall.SIGTERM)
				<-n.done
				n.start()
				_ = os.WriteFile(filepath.Join(dir, n.name+".done"), nil, 0o600) // the command waits for it
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-ended })
	return fmt.Sprintf("touch %[1]s/{node}; while ! rm %[1]s/{node}.done 2>/dev/null; do sleep 0.02; done", dir)
}

// A rolling restart under load: no request fails, and no session is lost.
func TestRollingRestart(t *testing.T) {
	behind(t, func(t *testing.T, front string, c cluster, address string) {
		command := keeper(t, c)
		users := clientsOf(address, 24, load{postEvery: 3})
		rounds := max(1, stops(t)/5)
		for range rounds {
			begun := time.Now()
			code, stdout, stderr := say(t, "rolling-restart", "--exec", command, "--admin", c[1].admin)
			if code != 0 || strings.Count(stdout, "ready and in sync after") != 3 {
				t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
			}
			t.Logf("a round in %v\n%s", time.Since(begun), stdout)
		}
		o := users.end()
		t.Logf(
			"%s: %d rounds, %d requests, %d failed, %d sessions lost, %d writes lost, longest %v",
			front, rounds, o.requests, o.failed+o.cut, o.lost, o.missed, o.longest,
		)
		if o.requests == 0 || o.failed+o.cut+o.lost+o.missed > 0 {
			t.Errorf("%+v", o)
		}
	})
}

// A command that fails, or restarts nothing, stops the round; what is said then leads on.
func TestRollingRestartStops(t *testing.T) {
	c := started(t)
	admins := c[0].admin // of one that tells of all
	command := keeper(t, c)
	code, stdout, stderr := say(t, "rolling-restart", "--admin", admins, "--exec", "if [ {node} = n2 ]; then exit 7; fi; "+command)
	if code != 3 || !strings.Contains(stderr, "exit status 7") ||
		!strings.Contains(stderr, "restarted: n1; when that is mended, go on with the same command and --from n2") {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	code, _, stderr = say(t, "rolling-restart", "--admin", admins, "--exec", command, "--from", "n2")
	if code != 1 || !strings.Contains(stderr, "n2 drains, as n1 sees it (nodeserver undrain)") {
		t.Errorf("n2 still drains: exit code %d, %s", code, stderr)
	}
	if code, _, stderr = say(t, "undrain", "n2", "--admin", c[0].admin); code != 0 {
		t.Errorf("undrain: %s", stderr)
	}
	c.await(t, startLimit)
	first := pid(c[0])
	if code, stdout, stderr = say(
		t, "rolling-restart", "--admin", admins, "--exec", command, "--from", "n2",
	); code != 0 ||
		pid(c[0]) != first {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	code, _, stderr = say(t, "rolling-restart", "--admin", admins, "--exec", "true", "--ready-timeout", "1s")
	if code != 3 || !strings.Contains(stderr, "n1 after 1s: it is still the process from before the command") {
		t.Errorf("nothing was restarted: exit code %d, %s", code, stderr)
	}
	code, _, stderr = say(t, "drain", "n9", "--admin", c[0].admin)
	if code != 1 || !strings.Contains(stderr, `n1 sees no member "n9"`) {
		t.Errorf("nobody's name: exit code %d, %s", code, stderr)
	}
}

func pid(n *node) int { return n.cmd.Process.Pid }
