package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/admin"
)

// command runs a verb of nodeserver that asks the node.
func (n *node) command(t testing.TB, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bin, append(args, "--admin", n.admin)...)
	var out, wrong bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &wrong
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), out.String(), wrong.String()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, out.String(), wrong.String()
}

// A node is frozen, and another one killed: the view of the cluster from the third has a row for
// each, with a reason, and is there in a second.
func TestStatusBesideAFrozenNode(t *testing.T) {
	t.Parallel()
	c := started(t)
	if code, out, wrong := c[0].command(t, "status"); code != 0 || !strings.HasPrefix(out, "All is well: 3 members") {
		t.Errorf("exit code %d\n%s%s", code, out, wrong)
	}
	c[2].signal(syscall.SIGSTOP)
	defer c[2].signal(syscall.SIGCONT)
	begin := time.Now()
	_, body, err := c[0].ask("/api/v1/cluster")
	took := time.Since(begin)
	var view admin.ClusterReply
	if err := errors.Join(err, json.Unmarshal(body, &view)); err != nil {
		t.Fatal(err)
	}
	if len(view.Nodes) != 3 || view.Nodes[1].Report == nil || view.Nodes[2].Problem != "no answer within 1s" {
		t.Errorf("%s", body)
	}
	t.Logf("the view beside a frozen node took %v (contract: 1s)", took)
	if took > 5*time.Second { // the machine may be busy; the bound itself is held in virtual time
		t.Errorf("the view took %v", took)
	}
	if code, out, wrong := c[0].command(t, "status"); code != 1 || !strings.Contains(out, "look at that machine and the network between") &&
		!strings.Contains(out, "n3 is gone") {
		t.Errorf("exit code %d\n%s%s", code, out, wrong)
	}
	c[1].kill()
	within(t, 10*time.Second, "n2 told as gone", func() error {
		if code, out, _ := c[0].command(t, "status"); code != 1 || !strings.Contains(out, c[1].name+" is gone") {
			return fmt.Errorf("exit code %d\n%s", code, out)
		}
		return nil
	})
}

// A failover can be read from the time line of all nodes, and nothing in it, or in any log, is a
// session's id.
func TestEventsTellOfAFailover(t *testing.T) {
	t.Parallel()
	c := started(t)
	u := new(user)
	u.ok(t, c[2], "inc")
	id, _, _ := strings.Cut(u.id(), ".")
	following := exec.CommandContext(t.Context(), bin, "events", "--all", "--follow", "--admin", c[0].admin)
	said := new(logBuffer)
	following.Stdout, following.Stderr = said, said
	if err := following.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = following.Process.Kill() // it goes on until it is ended
		_ = following.Wait()
	}()
	c[2].kill()
	u.ok(t, c[1], "inc")
	within(t, 20*time.Second, "both others tell of the end", func() error {
		for _, n := range c[:2] {
			if text := said.String(); !hasLine(text, n.name, "n3#", "is gone") {
				return fmt.Errorf("%s says nothing of it:\n%s", n.name, text)
			}
		}
		return nil
	})
	c[2].start()
	within(t, startLimit, "n3 back", func() error {
		if text := said.String(); !hasLine(text, "n1", "n3#", "has joined") || !hasLine(text, "n3", "n3 serves users") {
			return fmt.Errorf("not told:\n%s", text)
		}
		return nil
	})
	t.Logf("the time line:\n%s", said)
	for what, text := range map[string]string{"events": said.String(), "n1's log": c[0].log.String(), "n3's log": c[2].log.String()} {
		if id == "" || strings.Contains(text, id) {
			t.Errorf("%s: the session's id %q is in it", what, id)
		}
	}
}

// hasLine tells whether a line has all these words.
func hasLine(text string, words ...string) bool {
	for line := range strings.Lines(text) {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			return true
		}
	}
	return false
}

// The sessions' verbs on real nodes: list, show, where and expire, also beside a frozen node.
func TestSessionsVerbs(t *testing.T) {
	t.Parallel()
	c := started(t)
	u, other := new(user), new(user)
	u.ok(t, c[0], "inc")
	other.ok(t, c[1], "inc")
	within(t, 5*time.Second, "both everywhere", func() error {
		return all(c, func(n *node) error { return errors.Join(u.has(n, "n=1\n"), other.has(n, "n=1\n")) })
	})
	run := func(want int, args ...string) string {
		t.Helper()
		code, out, wrong := c[0].command(t, append([]string{"sessions"}, args...)...)
		if code != want {
			t.Errorf("sessions %v: exit code %d, want %d\n%s%s", args, code, want, out, wrong)
		}
		cookie, _, _ := strings.Cut(u.id(), ".")
		if strings.Contains(out+wrong, cookie) {
			t.Errorf("sessions %v prints the cookie", args)
		}
		return out
	}
	var list admin.SessionsReply
	if err := json.Unmarshal([]byte(run(0, "list", "--json", "--app", "bench")), &list); err != nil || list.Total != 2 {
		t.Fatalf("%v, %+v", err, list)
	}
	id := list.Sessions[1].ID // the older one
	if out := run(0, "list"); !strings.Contains(out, id) || !strings.Contains(out, "2 of 2 at n1") {
		t.Error(out)
	}
	if out := run(0, "show", id); !strings.Contains(out, "integer") {
		t.Error(out)
	}
	if out := run(0, "show", id, "--values"); !hasLine(out, "integer", " 1") {
		t.Error(out)
	}
	if out := run(0, "where", id); !strings.Contains(out, "the same at all nodes") || strings.Count(out, "bench") != 3 {
		t.Error(out)
	}
	c[2].signal(syscall.SIGSTOP)
	if out := run(3, "where", id); !strings.Contains(out, "no answer within 1s") {
		t.Error(out)
	}
	c[2].signal(syscall.SIGCONT)
	run(1, "show", strings.Repeat("0", 32))
	run(1, "expire")
	run(1, "expire", "--idle", "5s")
	if out := run(0, "expire", id); out != "1 sessions have ended\n" {
		t.Error(out)
	}
	within(t, 10*time.Second, "ended everywhere", func() error {
		return all(c, func(n *node) error { return errors.Join(u.has(n, noSession), other.has(n, "n=1\n")) })
	})
	if log := c[0].log.String(); !hasLine(log, "msg=audit", `action="read values"`) ||
		!hasLine(log, "msg=audit", "action=expire", "sid="+id) {
		t.Errorf("not in the audit log:\n%s", log)
	}
}

// The admin address speaks HTTPS, and commands trust the certificate that the conf names, and no
// other.
func TestAdminTLS(t *testing.T) {
	t.Parallel()
	cert, key, _ := certificate(t)
	other, _, _ := certificate(t)
	c := loopback(t, "admin.tls_cert="+cert, "admin.tls_key="+key)
	n := c[0]
	n.start()
	run := func(cert string, args ...string) (code int, out string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), bin, args...)
		cmd.Env = append(environment(), "NODESERVER_ADMIN_ADDRESS="+n.admin,
			"NODESERVER_ADMIN_TLS_CERT="+cert, "NODESERVER_ADMIN_TLS_KEY="+key)
		text, err := cmd.CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return exit.ExitCode(), string(text)
		}
		return 0, string(text)
	}
	within(t, startLimit, "n1 answers by TLS", func() error {
		if code, out := run(cert, "members"); code != 0 || !hasLine(out, "n1*", "alive") {
			return fmt.Errorf("exit code %d: %s", code, out)
		}
		return nil
	})
	if code, out := run(cert, "drain"); code != 0 { // by the token that the node wrote when it started
		t.Errorf("drain: exit code %d: %s", code, out)
	}
	if code, out := run(other, "members"); code != 1 || !strings.Contains(out, "the node has another certificate than admin.tls_cert") {
		t.Errorf("another certificate: exit code %d: %s", code, out)
	}
	n.admin = "https://" + n.admin
	if code, _, wrong := n.command(t, "members"); code != 1 || !strings.Contains(wrong, "certificate signed by unknown authority") {
		t.Errorf("a certificate that the system does not trust: exit code %d: %s", code, wrong)
	}
	n.admin = n.admin[len("https://"):]
	if _, body, err := n.ask("/livez"); err == nil && strings.Contains(string(body), "ok") {
		t.Error("it answers without TLS")
	}
}
