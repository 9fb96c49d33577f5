package e2e

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/e2e/netns"
)

// startLimit is for three processes on a busy machine to come up and get ready.
const startLimit = 20 * time.Second

// cluster is three nodes.
type cluster []*node

// loopback makes three nodes of the sample files on ports of their own, not
// started yet.
func loopback(t testing.TB, sets ...string) cluster {
	t.Helper()
	var c cluster
	var channels []string
	for i := range 3 {
		n := &node{name: fmt.Sprintf("n%d", i+1), http: freeAddress(t), admin: freeAddress(t), channel: freeAddress(t)}
		channels = append(channels, n.channel)
		c = append(c, n)
	}
	name := clusterName()
	for i, n := range c {
		c[i] = newNode(t, n.name, fmt.Sprintf("node%d.toml", i+1), nil, append([]string{
			"cluster.name=" + name, "http.address=" + n.http, "admin.address=" + n.admin, "channel.address=" + n.channel,
			"membership.static=" + strings.Join(channels, ","),
		}, sets...)...)
		c[i].http, c[i].admin, c[i].channel = n.http, n.admin, n.channel
	}
	return c
}

// clusterName is a name that no other test uses: all share the multicast group of lo.
func clusterName() string { return fmt.Sprintf("e2e-%08x", rand.Uint32()) }

// started is loopback, with all nodes up and ready.
func started(t testing.TB, sets ...string) cluster {
	t.Helper()
	c := loopback(t, sets...)
	for _, n := range c {
		n.start()
	}
	c.await(t, startLimit)
	return c
}

// lan makes three nodes on hosts of their own which are joined by a bridge and
// know nothing of each other but the cluster's secret.
func lan(t testing.TB, sets ...string) cluster {
	t.Helper()
	return lanAt(t, netns.New(t), sets...)
}

// lanAt is lan on a network where others may be, too.
func lanAt(t testing.TB, network *netns.Net, sets ...string) cluster {
	t.Helper()
	key := secret(t)
	var c cluster
	for i := range 3 {
		host := network.Host(fmt.Sprintf("h%d", i+1))
		n := newNode(t, fmt.Sprintf("n%d", i+1), fmt.Sprintf("node%d.toml", i+1), host, append([]string{
			"http.address=" + host.Address + ":8081", "admin.address=127.0.0.1:9081", "channel.address=" + host.Address + ":4001",
			"membership.providers=mdns", "membership.static=", "membership.interface=eth0", "cluster.secret_file=" + key,
		}, sets...)...)
		n.http, n.admin, n.channel = host.Address+":8081", "127.0.0.1:9081", host.Address+":4001"
		c = append(c, n)
	}
	return c
}

// secret makes a secret file as operators do.
func secret(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if out, err := exec.CommandContext(t.Context(), bin, "secret", "new", file).CombinedOutput(); err != nil {
		t.Fatalf("nodeserver secret new: %v\n%s", err, out)
	}
	return file
}

// await waits until all nodes are ready, see each other, and have nothing left
// to tell.
func (c cluster) await(t testing.TB, limit time.Duration) {
	t.Helper()
	c.awaitSince(t, time.Now(), limit)
}

// awaitSince is await that returns how long it took from the beginning.
func (c cluster) awaitSince(t testing.TB, begin time.Time, limit time.Duration) time.Duration {
	t.Helper()
	return since(t, begin, limit, "cluster complete and in sync", func() error {
		return all(c, func(n *node) error { return n.sees(c...) })
	})
}

// lose waits until the others see a node as gone, and returns how long that
// took from the beginning.
func (c cluster) lose(t testing.TB, begin time.Time, gone *node, limit time.Duration) time.Duration {
	t.Helper()
	return since(t, begin, limit, gone.name+" gone on the others", func() error {
		return all(c.but(gone), func(n *node) error { return n.lost(gone) })
	})
}

func (c cluster) but(not *node) (rest cluster) {
	for _, n := range c {
		if n != not {
			rest = append(rest, n)
		}
	}
	return rest
}
