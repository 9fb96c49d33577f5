package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// door makes nodeserver's own balancer for the cluster, started.
func door(t testing.TB, c cluster, sets ...string) *node {
	t.Helper()
	httpAt, admin := freeAddress(t), freeAddress(t)
	var name, static string
	for _, arg := range c[0].args {
		if strings.HasPrefix(arg, "cluster.name=") {
			name = arg
		}
		if strings.HasPrefix(arg, "membership.static=") {
			static = arg
		}
	}
	sets = append([]string{name, static, "balance.address=" + httpAt, "admin.address=" + admin}, sets...)
	d := newNode(t, "door", "balance.toml", nil, sets...)
	d.args[0] = "balance"
	d.http, d.admin = httpAt, admin
	d.start()
	within(t, startLimit, "balancer ready", func() error {
		if status, body, err := d.ask("/readyz"); err != nil || status != http.StatusOK {
			return fmt.Errorf("%d %s %w", status, body, err)
		}
		return nil
	})
	return d
}

// stops is how many stops a test makes: E2E_STOPS, for the record, or 10.
func stops(t *testing.T) int {
	t.Helper()
	given := os.Getenv("E2E_STOPS")
	if given == "" {
		return 10
	}
	n, err := strconv.Atoi(given)
	if err != nil {
		t.Fatalf("E2E_STOPS: %v", err)
	}
	return n
}

// Nodes are told to stop, one after the other, while users send POSTs through the
// balancer: each of them is answered by some node, none is lost.
func TestStopLosesNoPost(t *testing.T) {
	c := started(t)
	rolling(t, c, door(t, c).http)
}

// rolling stops and starts the nodes in turn while POSTs go to the balancer at the address.
// None of them may fail.
func rolling(t *testing.T, c cluster, address string) {
	t.Helper()
	users := clientsOf(address, 32, load{postEvery: 1, stay: true})
	var longest time.Duration
	for i := range stops(t) {
		n := c[i%len(c)]
		at := n.signal(syscall.SIGTERM)
		if code := n.exit(15 * time.Second); code != 0 {
			t.Errorf("%s: exit code %d", n.name, code)
		}
		longest = max(longest, time.Since(at))
		n.start()
		within(t, startLimit, n.name+" back", func() error {
			if status, _, err := n.ask("/readyz"); err != nil || status != http.StatusOK {
				return errEarly
			}
			return nil
		})
		until(time.Now().Add(300 * time.Millisecond)) // for balancers that have to find out
	}
	o := users.end()
	t.Logf("%d POSTs, %d of them failed", o.requests, o.failed+o.cut)
	if o.requests == 0 || o.failed+o.cut > 0 {
		t.Errorf("%d of %d POSTs failed, as: %s", o.failed+o.cut, o.requests, o.first)
	}
	t.Logf("the longest of %d stops took %v", stops(t), longest)
}

// The same behind the balancers that users have, as lb-config sets them up. nginx asks nobody and
// learns of a stop from refused connections.
func TestStopLosesNoPostBehindHAProxy(t *testing.T) {
	c := started(t)
	rolling(t, c, balancer(t, c, "haproxy"))
}

func TestStopLosesNoPostBehindNginx(t *testing.T) {
	c := started(t)
	rolling(t, c, balancer(t, c, "nginx"))
}
