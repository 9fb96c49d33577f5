package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A cluster changes its secret under load: the nodes get the file with both secrets one after the
// other, then the one without the old secret. No request fails, no session and no write is lost, no
// link is down for longer than a second. A node that has only the old secret is refused afterwards,
// and told why.
func TestSecretRotation(t *testing.T) {
	files, old := secretEach(t)
	c := loopback(t)
	for i, n := range c {
		n.args = append(n.args, "--set", "cluster.secret_file="+files[i])
		n.start()
	}
	c.await(t, startLimit)
	var changing atomic.Bool
	longest, ended := linksDown(t, c, &changing)
	list, y := crowd(c, 64, 4*time.Second, func(i int) *node { return c[i%3] }, func() {
		for i, verb := range []string{"rotate", "retire"} {
			if out, err := exec.CommandContext(t.Context(), bin, "secret", verb, files[0]).CombinedOutput(); err != nil {
				t.Errorf("secret %s: %v %s", verb, err, out)
			}
			for k, n := range c {
				if k > 0 {
					give(t, files[0], files[k])
				}
				within(t, startLimit, n.name+" reads the file", func() error {
					if strings.Count(n.log.String(), "what proves membership was read anew") != i+1 {
						return errEarly
					}
					return nil
				})
			}
		}
	})
	changing.Store(false)
	<-ended
	y.good(t)
	if y.moves > 0 {
		t.Errorf("%d requests had to go to another node", y.moves)
	}
	c.await(t, 5*time.Second)
	whole(t, c, list)
	if *longest > time.Second {
		t.Errorf("a link was down for %v", *longest)
	}
	t.Logf("the longest that a link was seen down: %v", *longest)

	give(t, old, files[2])
	c[2].kill()
	c[2].start()
	if code := c[2].exit(startLimit); code == 0 || !strings.Contains(c[2].log.said(), "the cluster secrets differ") {
		t.Errorf("a node with the old secret: exit code %d, it says %s", code, c[2].log.said())
	}
}

// secretEach makes a secret, as each of three nodes has it in a file of its own, and one copy.
func secretEach(t *testing.T) (files []string, old string) {
	t.Helper()
	old = secret(t)
	for i := range 3 {
		file := filepath.Join(t.TempDir(), fmt.Sprint(i+1))
		give(t, old, file)
		files = append(files, file)
	}
	return files, old
}

// give copies a file to where a node looks for it, as a whole.
func give(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(to+".new", to)
	}
	if err != nil {
		t.Error(err)
	}
}

// linksDown looks, while changing is true, at what nodes say of their members, and notes for how
// long one was not alive, as far as its looks show.
func linksDown(t *testing.T, c cluster, changing *atomic.Bool) (longest *time.Duration, ended <-chan struct{}) {
	t.Helper()
	changing.Store(true)
	longest = new(time.Duration)
	done := make(chan struct{})
	go func() {
		defer close(done)
		since := map[string]time.Time{}
		for changing.Load() {
			for _, n := range c {
				rows, err := n.members()
				now := time.Now()
				for _, other := range c {
					link := n.name + " " + other.name
					up := err != nil // it says nothing
					for _, r := range rows {
						up = up || r.Name == other.name && r.State == "alive"
					}
					switch {
					case up:
						delete(since, link)
					case since[link].IsZero():
						since[link] = now
					default:
						*longest = max(*longest, now.Sub(since[link]))
					}
				}
			}
			until(time.Now().Add(20 * time.Millisecond))
		}
	}()
	return longest, done
}
