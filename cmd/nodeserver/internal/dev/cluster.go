package dev

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/cmd/nodeserver/internal/child"
	"github.com/nodeserver/nodeserver/server/keys"
)

// cluster is the nodes and, if there are several, the balancer in front of them.
type cluster struct {
	Options

	dir    string // of conf and plugin
	nodes  []node
	target string // where requests go: of the node or the balancer
	client http.Client

	mu       sync.Mutex
	children []*child.Process
	broken   chan struct{} // closed when a child has ended
	once     sync.Once
}

// node is where a node listens.
type node struct{ name, http, admin, channel string }

func (c *cluster) webapps() string {
	return filepath.Join(c.dir, "webapps") + string(filepath.Separator)
}

// newCluster writes what the nodes need into dir.
func newCluster(o Options, dir string) (*cluster, error) {
	c := &cluster{Options: o, dir: dir, broken: make(chan struct{}), client: http.Client{Timeout: 2 * time.Second}}
	ports, err := child.FreePorts(3*o.Nodes + 1)
	if err != nil {
		return nil, err
	}
	c.target = ports[3*o.Nodes]
	var channels []string
	for i := range o.Nodes {
		n := node{"n" + strconv.Itoa(i+1), ports[3*i], ports[3*i+1], ports[3*i+2]}
		c.nodes, channels = append(c.nodes, n), append(channels, n.channel)
	}
	common := fmt.Sprintf(`[cluster]
name = "dev"
secret_file = "secret"

[membership]
providers = ["static"]
static = %s

[log]
level = "warn"
`, quoted(channels))
	files := map[string]string{
		"secret":       keys.New() + "\n",
		"balance.toml": fmt.Sprintf("[balance]\naddress = %q\n\n[http]\nshutdown_grace = \"1s\"\n\n%s", c.target, common),
	}
	if o.Nodes == 1 {
		c.target = c.nodes[0].http
	}
	for _, n := range c.nodes {
		files[n.name+".toml"] = n.conf() + common
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("conf of the nodes: %w", err)
		}
	}
	return c, os.Mkdir(filepath.Join(dir, "webapps"), 0o700)
}

// conf is the node's own part. Revisions have no limit here: each save makes one.
func (n node) conf() string {
	return fmt.Sprintf(`[node]
name = %q

[http]
address = %q
expose_node = true
drain_notice = "0s"
shutdown_grace = "1s"

[admin]
address = %q

[channel]
address = %q

[webapps]
dir = "webapps"
drain = "2s"
max_revisions = 0

`, n.name, n.http, n.admin, n.channel)
}

// start starts all, and waits until the nodes are ready.
func (c *cluster) start(ctx context.Context) error {
	for _, n := range c.nodes {
		if err := c.run(n.name, "run", n.name+".toml"); err != nil {
			return err
		}
	}
	if len(c.nodes) > 1 {
		if err := c.run("balancer", "balance", "balance.toml"); err != nil {
			return err
		}
	}
	for _, n := range c.nodes {
		err := child.WaitFor(ctx, startLimit, func() bool {
			select {
			case <-c.broken:
				return true
			default:
				return c.ask(ctx, n.admin, "/readyz", nil) == nil
			}
		})
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("node %s is not ready: %w", n.name, err)
		}
	}
	return nil
}

func (c *cluster) run(name, verb, conf string) error {
	p, err := child.StartTo(c.Out, name, c.dir, c.Exe, verb, "--conf", conf)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.children = append(c.children, p)
	go func() {
		<-p.Done()
		c.once.Do(func() { close(c.broken) })
	}()
	return nil
}

// stop ends all children in order, at once.
func (c *cluster) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all sync.WaitGroup
	for _, p := range c.children {
		all.Go(func() { p.Stop(grace) })
	}
	all.Wait()
}
