package servertest

import (
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/webapps"
)

// Cluster is a running cluster of one app. Make it with Start.
type Cluster struct {
	tb     testing.TB
	app    webapps.App
	path   string // of the app, without the slash at its end
	cookie string // name of the session cookie
	nodes  []*node
}

// patience is how long anything may take that is to happen by itself.
const patience = 20 * time.Second

// Start runs n nodes, named n1, n2, …, that host the app, and returns when all
// know each other and are ready. Each change, if any, is called with the
// configuration of each node before it starts. The cluster stops when the test
// ends. If anything goes wrong, so does the test.
func Start(tb testing.TB, n int, app webapps.App, change ...func(*config.Config)) *Cluster {
	tb.Helper()
	if n < 1 {
		tb.Fatalf("servertest: start %d nodes: want 1 at least", n)
	}
	c := &Cluster{tb: tb, app: app}
	for i := range n {
		node, err := newNode(i, app, change)
		if err != nil {
			tb.Fatalf("servertest: %v", err)
		}
		c.nodes = append(c.nodes, node)
	}
	c.path, c.cookie = appPath(c.nodes[0].cfg, app.Name), c.nodes[0].cfg.Sessions.CookieName
	tb.Cleanup(c.stopAll)
	for i := range c.nodes {
		c.start(i)
	}
	c.Eventually("all nodes ready and in touch", c.whole)
	return c
}

func appPath(cfg config.Config, name string) string {
	for _, a := range cfg.Apps {
		if a.Name == name && a.Path != "" {
			return a.Path[:len(a.Path)-1]
		}
	}
	if name == "root" {
		return ""
	}
	return "/" + name
}

// Name is the name of node i, counted from 0.
func (c *Cluster) Name(i int) string { return c.nodes[i].cfg.Node.Name }

// URL is where node i serves the app, with a slash at its end; for what a
// Visitor doesn't do.
func (c *Cluster) URL(i int) string { return "http://" + c.nodes[i].addr.http + c.path + "/" }

// Kill ends node i as hard as a process can end another one's node: see the
// package's text. It returns when nothing of it can be heard any more, which the
// others may not have noticed yet. Killing a dead node changes nothing.
func (c *Cluster) Kill(i int) {
	c.tb.Helper()
	n := c.nodes[i]
	if n.run == nil {
		return
	}
	n.run.life.cut()
	n.run.cancel()
	_ = c.ended(n) // the lost listeners'
	n.run = nil
}

// Stop ends node i in order: it lets requests end, hands over its last changes
// and says good-bye. Stopping a dead node changes nothing.
func (c *Cluster) Stop(i int) {
	c.tb.Helper()
	n := c.nodes[i]
	if n.run == nil {
		return
	}
	n.run.cancel()
	if err := c.ended(n); err != nil {
		c.tb.Errorf("servertest: node %s: %v", n.cfg.Node.Name, err)
	}
	n.run = nil
}

// Revive starts node i again after Kill or Stop, with the same name and
// addresses and an empty memory, and returns when it has got the sessions from
// the others and is ready. Reviving a live node changes nothing.
func (c *Cluster) Revive(i int) {
	c.tb.Helper()
	if c.nodes[i].run != nil {
		return
	}
	c.start(i)
	c.Eventually("node "+c.Name(i)+" ready again", c.whole)
}

// Eventually asks until ok, and ends the test if that takes more than 20
// seconds. Use it for what follows by itself, like what one node learns from
// another when acks is not "all".
func (c *Cluster) Eventually(what string, ok func() bool) {
	c.tb.Helper()
	if !eventually(ok) {
		c.tb.Fatalf("%s: not within %v", what, patience)
	}
}

func eventually(ok func() bool) bool {
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			return false
		case <-tick.C:
		}
	}
	return true
}

// start begins a life of node i.
func (c *Cluster) start(i int) {
	c.tb.Helper()
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(c.tb.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	var seeds []string
	for _, n := range c.nodes[:i] {
		seeds = append(seeds, n.addr.channel)
	}
	for _, n := range c.nodes[i+1:] {
		if n.addr.channel != "" {
			seeds = append(seeds, n.addr.channel)
		}
	}
	if err := c.nodes[i].start(c.app, seeds, log); err != nil {
		c.tb.Fatalf("servertest: start node %s: %v", c.Name(i), err)
	}
}

// ended waits until a node's Run has returned, and returns its error.
func (c *Cluster) ended(n *node) error {
	c.tb.Helper()
	select {
	case err := <-n.run.done:
		return err
	case <-time.After(patience):
		c.tb.Errorf("servertest: node %s still runs after %v", n.cfg.Node.Name, patience)
		return nil
	}
}

func (c *Cluster) stopAll() {
	var all sync.WaitGroup
	for i := range c.nodes {
		all.Go(func() { c.Stop(i) })
	}
	all.Wait()
}

// whole tells whether every live node is ready and sees every other one so, in
// the lives they have now.
func (c *Cluster) whole() bool {
	alive := map[string]string{} // token by name
	for _, n := range c.nodes {
		if n.run != nil {
			alive[n.cfg.Node.Name] = n.run.life.token
		}
	}
	for _, n := range c.nodes {
		if n.run != nil && !n.sees(alive) {
			return false
		}
	}
	return true
}
