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
