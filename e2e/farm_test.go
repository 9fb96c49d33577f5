package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/admin"
)

// farm is three nodes that keep files, and an operator's token for them.
func farm(t *testing.T) (c cluster, operate func(via *node, args ...string) (string, error)) {
	t.Helper()
	token := secret(t)
	b, err := os.ReadFile(token)
	if err != nil {
		t.Fatal(err)
	}
	c = loopback(t, "webapps.drain=2s", "webapps.dir=", "admin.token_file="+token)
	for _, n := range c {
		n.token = strings.TrimSpace(string(b))
		n.args = append(n.args, "--set", "node.data_dir="+t.TempDir())
		n.start()
	}
	c.meet(t)
	return c, func(via *node, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), via.exe, append(append([]string{"apps"}, args...), "--admin", via.admin)...)
		cmd.Env = append(environment(), "NODESERVER_ADMIN_TOKEN_FILE="+token)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		return out.String(), err
	}
}

// meet waits until all nodes are ready and see that of each other. (There may be no app, and then
// nothing to be in sync with.)
func (c cluster) meet(t *testing.T) {
	t.Helper()
	within(t, startLimit, "cluster complete", func() error {
		return all(c, func(n *node) error {
			rows, err := n.members()
			if err != nil {
				return err
			}
			ready := 0
			for _, r := range rows {
				if r.State == "alive" && r.Ready {
					ready++
				}
			}
			if ready != len(c) {
				return fmt.Errorf("%s sees %+v", n.name, rows)
			}
			return nil
		})
	})
}

// serving says what is wrong if not all nodes serve this revision to a user who comes for the first
// time.
func (c cluster) serving(revision string) error {
	return all(c, func(n *node) error {
		status, body, _, err := new(user).at(n, "/shop/")
		if want := revision + " 001"; err != nil || status != http.StatusOK || body != want {
			return fmt.Errorf("%s: %d %q %w, want %s", n.name, status, body, err, want)
		}
		return nil
	})
}

func shopBuilds(t *testing.T, inNew string, revisions ...string) (files []string) {
	t.Helper()
	for _, r := range revisions {
		files = append(files, filepath.Join(plugin(t, "shop", shop(r, inNew)), "shop.so"))
	}
	return files
}

// An app is deployed on all nodes again and again, by whichever node: no request fails, no session is
// lost, and when the command returns all nodes serve it. A build that one node can't take changes
// nothing anywhere, nor does one while a node can't be reached.
func TestFarm(t *testing.T) {
	t.Parallel()
	colours := []string{"red", "green", "blue"}
	builds := shopBuilds(t, "", colours...)
	picky := shopBuilds(t, `if c.Node() == "n2" { return nil, os.ErrDeadlineExceeded }`, "picky")[0]
	c, operate := farm(t)
	deployed := func(i int) {
		t.Helper()
		if out, err := operate(c[i%3], "deploy", builds[i%3]); err != nil || !strings.Contains(out, "serves on all nodes") {
			t.Fatalf("deploy: %v\n%s", err, out)
		}
		if err := c.serving(colours[i%3]); err != nil {
			t.Errorf("after deployment %d: %v", i, err)
		}
	}
	deployed(0)
	within(t, 10*time.Second, "all host it", func() error { return c.hosting("shop", c...) })

	var now atomic.Int64
	stop := make(chan struct{})
	var users sync.WaitGroup
	var requests atomic.Int64
	for i := range 6 {
		users.Go(func() {
			u := new(user)
			for visits := 1; ; visits++ {
				select {
				case <-stop:
					return
				default:
				}
				if visits == 1000 {
					u, visits = new(user), 1
				}
				before := now.Load()
				status, body, _, err := u.at(c[i%3], "/shop/")
				var colour string
				var n int
				if _, e := fmt.Sscanf(body, "%s %d", &colour, &n); err != nil || e != nil || status != http.StatusOK || n != visits {
					t.Errorf("%s: %d %q %v, visit %d", c[i%3].name, status, body, err, visits)
					return
				}
				if colour == colours[(before+2)%3] {
					t.Errorf("%q after deployment %d is of the one before", body, before)
				}
				requests.Add(1)
			}
		})
	}
	for i := 1; i <= 20; i++ {
		deployed(i)
		now.Store(int64(i))
	}
	serves := colours[20%3]
	out, err := operate(c[0], "deploy", picky)
	if err == nil || !strings.Contains(out, "nothing was changed on any node:") ||
		!strings.Contains(out, "n2: the plugin: start app shop: i/o timeout") {
		t.Errorf("a build that n2 can't take: %v\n%s", err, out)
	}
	if err := c.serving(serves); err != nil {
		t.Errorf("after a refused one: %v", err)
	}
	close(stop)
	users.Wait()
	t.Logf("%d requests during 20 deployments", requests.Load())

	var both sync.WaitGroup
	outs := make([]string, 2)
	errs := make([]error, 2)
	for i := range 2 {
		both.Go(func() { outs[i], errs[i] = operate(c[i], "deploy", builds[i]) }) // red and green; blue serves
	}
	both.Wait()
	for i := range 2 {
		if errs[i] != nil && !strings.Contains(outs[i], "another deployment of shop is under way, led by n") {
			t.Errorf("the loser: %v\n%s", errs[i], outs[i])
		}
	}
	if errs[0] != nil && errs[1] != nil {
		t.Errorf("both have lost: %s %s", outs[0], outs[1])
	}
	red, green := c.serving("red"), c.serving("green")
	if red != nil && green != nil {
		t.Errorf("two at once: %v; %v", red, green)
	}

	serves = "blue"
	deployed(2)
	c[2].signal(syscall.SIGSTOP)
	if out, err := operate(c[0], "deploy", builds[0]); err == nil || !strings.Contains(out, "n3: can't be reached") {
		// it takes a second to notice, so it may be asked, which takes longer than it has
		within(t, 10*time.Second, "n3 is missed", func() error {
			if out, err = operate(c[0], "deploy", builds[0]); err == nil || !strings.Contains(out, "n3: can't be reached") {
				return fmt.Errorf("%w %s", err, out)
			}
			return nil
		})
	}
	if err := c[:2].serving(serves); err != nil {
		t.Errorf("a deployment that a node can't hear of: %v", err)
	}
	if out, err := operate(c[0], "deploy", builds[0], "--skip-unreachable"); err != nil {
		t.Errorf("without n3: %v\n%s", err, out)
	}
	c[2].signal(syscall.SIGCONT)
	within(t, 20*time.Second, "n3 follows", func() error { return c.serving("red") })

	if out, err := operate(c[1], "rollback", "shop"); err != nil {
		t.Errorf("rollback: %v\n%s", err, out)
	}
	if err := c.serving("blue"); err != nil {
		t.Errorf("after the rollback: %v", err)
	}
	c[2].signal(syscall.SIGTERM)
	c[2].exit(20 * time.Second)
	within(t, 10*time.Second, "n3 has left", func() error { return c[0].lost(c[2]) })
	if out, err := operate(c[0], "deploy", builds[1]); err != nil {
		t.Errorf("without n3, which has left: %v\n%s", err, out)
	}
	c[2].start()
	c.meet(t)
	if err := c.serving("green"); err != nil {
		t.Errorf("a node that joins: %v", err)
	}
	c[2].kill()
	within(t, 10*time.Second, "deployed without n3, which was killed", func() error {
		out, err := operate(c[0], "deploy", builds[0])
		if err != nil {
			return fmt.Errorf("%w %s", err, out)
		}
		return nil
	})
	c[2].start()
	c.meet(t)
	if err := c.serving("red"); err != nil {
		t.Errorf("a node that was killed: %v", err)
	}
	c.haltShop(t, operate, builds[0])
	for _, n := range c {
		n.signal(syscall.SIGTERM)
	}
	for _, n := range c {
		n.exit(20 * time.Second)
	}
	for _, n := range c {
		n.start()
	}
	c.meet(t)
	if err := c.serving("red"); err != nil {
		t.Errorf("all stopped and started: %v", err)
	}
	if out, err := operate(c[2], "undeploy", "shop"); err != nil {
		t.Errorf("undeploy: %v\n%s", err, out)
	}
	within(t, 10*time.Second, "nobody hosts it", func() error { return c.hosting("shop") })
}

// haltShop stops and starts the app, of which red serves: no node serves it meanwhile, also one that
// has started again, and its sessions stay.
func (c cluster) haltShop(t *testing.T, operate func(via *node, args ...string) (string, error), red string) {
	t.Helper()
	u := new(user)
	if _, body, _, err := u.at(c[0], "/shop/"); err != nil || body != "red 001" {
		t.Errorf("%q %v", body, err)
	}
	if out, err := operate(c[1], "stop", "shop"); err != nil || !strings.Contains(out, "shop is stopped on all nodes") {
		t.Errorf("stop: %v\n%s", err, out)
	}
	stopped := func(nodes ...*node) {
		t.Helper()
		for _, n := range nodes {
			status, body, h, err := new(user).at(n, "/shop/")
			if err != nil || status != http.StatusServiceUnavailable || h.Get("Retry-After") == "" ||
				!strings.Contains(body, "the app shop is stopped by an operator") {
				t.Errorf("%s serves a stopped app: %d %q %v", n.name, status, body, err)
			}
		}
	}
	stopped(c...)
	within(t, 10*time.Second, "no member says that it hosts it", func() error {
		return all(c, func(n *node) error {
			rows, err := n.members()
			if slices.ContainsFunc(rows, func(r admin.MemberRow) bool { return slices.Contains(r.Apps, "shop") }) {
				return errEarly
			}
			return err
		})
	})
	c[2].signal(syscall.SIGTERM)
	c[2].exit(20 * time.Second)
	c[2].start()
	c.meet(t)
	stopped(c[2])
	if out, err := operate(c[0], "deploy", red); err != nil || !strings.Contains(out, "shop is stopped on all nodes") {
		t.Errorf("deploy while it is stopped: %v\n%s", err, out)
	}
	stopped(c...)
	if out, err := operate(c[0], "list"); err != nil || strings.Count(out, " stopped ") != len(c) {
		t.Errorf("list: %v\n%s", err, out)
	}
	if out, err := operate(c[2], "start", "shop"); err != nil || !strings.Contains(out, "shop serves on all nodes") {
		t.Errorf("start: %v\n%s", err, out)
	}
	for i, want := range []string{"red 002", "red 003", "red 004"} {
		if _, body, _, err := u.at(c[2-i], "/shop/"); err != nil || body != want {
			t.Errorf("%s after the start: %q %v, want %s", c[2-i].name, body, err, want)
		}
	}
	within(t, 10*time.Second, "all host it", func() error { return c.hosting("shop", c...) })
	if out, err := operate(c[0], "stop", "ghost"); err == nil || !strings.Contains(out, `no node hosts an app "ghost"`) {
		t.Errorf("stop of no app: %v\n%s", err, out)
	}
}

// The node that leads a deployment, and another one, are killed at random instants of it: soon
// after, all nodes serve one and the same build, the one that has started again included.
func TestFarmSurvivesKills(t *testing.T) {
	t.Parallel()
	colours := []string{"red", "green", "blue"}
	builds := shopBuilds(t, "", colours...)
	c, operate := farm(t)
	var took time.Duration // of a deployment
	for i := range builds {
		begun := time.Now()
		if out, err := operate(c[0], "deploy", builds[(i+1)%3]); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		took = time.Since(begun)
	}
	seen := map[string]int{}
	var longest time.Duration // from all being ready again to one build everywhere
	for i := 1; i <= 20; i++ {
		victim := c[i%2] // the leader, or a member
		over := make(chan struct{})
		go func() {
			defer close(over)
			_, _ = operate(c[0], "deploy", builds[i%3]) // it may or may not succeed
		}()
		until(time.Now().Add(rand.N(took * 3 / 2)))
		victim.kill()
		<-over
		survivors := c.but(victim)
		same := func(nodes cluster) string {
			var got string
			within(t, 5*time.Second+startLimit, "one build everywhere", func() error {
				for _, colour := range colours {
					if nodes.serving(colour) == nil {
						got = colour
						return nil
					}
				}
				return errEarly
			})
			return got
		}
		same(survivors)
		victim.start()
		c.meet(t)
		met := time.Now()
		got := same(c)
		longest = max(longest, time.Since(met))
		outcome := "before"
		if got == colours[i%3] {
			outcome = "after"
		}
		seen[outcome]++
		if got != colours[i%3] { // so that the next round differs
			within(t, startLimit, "deployed", func() error {
				out, err := operate(c[2], "deploy", builds[i%3])
				if err != nil {
					return fmt.Errorf("%w %s", err, out)
				}
				return nil
			})
		}
	}
	t.Logf("of 20 deployments with a kill, %d had not happened and %d had; one build everywhere at most %v after all were ready",
		seen["before"], seen["after"], longest)
}
