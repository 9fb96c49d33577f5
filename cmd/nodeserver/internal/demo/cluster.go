package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/cmd/nodeserver/internal/child"
	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/keys"
)

// cluster is the nodes, the balancer and their folder.
type cluster struct {
	exe, dir  string
	webapps   string
	discovery string // mdns or static
	name      string // of the cluster: strangers on the same multicast group are ignored
	nodes     []*member
	door      *child.Process
	doorAddr  string
	admin     http.Client
}

// member is one node: where it listens, and its present process.
type member struct {
	name                 string
	http, admin, channel string
	process              *child.Process
}

// newCluster writes conf files and a secret into a temporary folder. It starts
// nothing. noMulticast is why members must be listed, or nil.
func newCluster(exe string, nodes int) (c *cluster, noMulticast error, err error) {
	c = &cluster{exe: exe, webapps: filepath.Join(filepath.Dir(exe), "webapps"), discovery: "mdns"}
	if _, err := os.Stat(filepath.Join(c.webapps, "cart.so")); err != nil {
		return nil, nil, fmt.Errorf("the visitors need %s: run: make webapps", filepath.Join(c.webapps, "cart.so"))
	}
	if noMulticast = membership.CheckMulticast("lo"); noMulticast != nil {
		c.discovery = "static"
	}
	ports, err := child.FreePorts(3*nodes + 1)
	if err != nil {
		return nil, nil, err
	}
	if c.dir, err = os.MkdirTemp("", "nodeserver-demo-"); err != nil {
		return nil, nil, fmt.Errorf("folder for conf and logs: %w", err)
	}
	c.name = "demo-" + filepath.Base(c.dir)[len("nodeserver-demo-"):]
	c.doorAddr, ports = ports[0], ports[1:]
	for i := range nodes {
		c.nodes = append(c.nodes, &member{name: "n" + strconv.Itoa(i+1), http: ports[3*i], admin: ports[3*i+1], channel: ports[3*i+2]})
	}
	c.admin = http.Client{Timeout: 2 * time.Second}
	return c, noMulticast, c.writeFiles()
}

func (c *cluster) writeFiles() error {
	files := map[string]string{"secret": keys.New() + "\n", "balance.toml": c.doorConf()}
	for _, n := range c.nodes {
		files[n.name+".toml"] = c.nodeConf(n)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("conf of the demo: %w", err)
		}
	}
	return nil
}

func (c *cluster) nodeConf(n *member) string {
	return fmt.Sprintf(`[node]
name = %q

[http]
address = %q
expose_node = true
shutdown_grace = "2s"

[admin]
address = %q

[channel]
address = %q

[replication]
acks = "one" # an answer means: another node has applied the write

[webapps]
dir = %q

%s`, n.name, n.http, n.admin, n.channel, c.webapps, c.commonConf())
}

func (c *cluster) doorConf() string {
	return fmt.Sprintf("[balance]\naddress = %q\n\n[http]\nshutdown_grace = \"2s\"\n\n%s", c.doorAddr, c.commonConf())
}

func (c *cluster) commonConf() string {
	var static []string
	for _, n := range c.nodes {
		static = append(static, strconv.Quote(n.channel))
	}
	find := `interface = "lo"`
	if c.discovery == "static" {
		find = "static = [" + strings.Join(static, ", ") + "]"
	}
	return fmt.Sprintf("[cluster]\nname = %q\nsecret_file = \"secret\"\n\n[membership]\nproviders = [%q]\n%s\n", c.name, c.discovery, find)
}

// startAll starts all nodes, and the balancer.
func (c *cluster) startAll() (err error) {
	for _, n := range c.nodes {
		if err := c.startNode(n); err != nil {
			return err
		}
	}
	c.door, err = child.Start("balancer", c.dir, filepath.Join(c.dir, "balance.log"), c.exe, "balance", "--conf", "balance.toml")
	return err
}

func (c *cluster) startNode(n *member) (err error) {
	log := filepath.Join(c.dir, n.name+".log")
	n.process, err = child.Start(n.name, c.dir, log, c.exe, "run", "--conf", n.name+".toml", "--demo", "nodes")
	return err
}

// stopAll ends all children in order, at once.
func (c *cluster) stopAll() {
	var all sync.WaitGroup
	for _, p := range c.processes() {
		all.Go(func() { p.Stop(4 * time.Second) })
	}
	all.Wait()
}

func (c *cluster) processes() (list []*child.Process) {
	for _, n := range c.nodes {
		if n.process != nil {
			list = append(list, n.process)
		}
	}
	if c.door != nil {
		list = append(list, c.door)
	}
	return list
}

// awaitReady waits until all nodes are ready and know each other, and the front
// door reaches them.
func (c *cluster) awaitReady(ctx context.Context, limit time.Duration) error {
	err := c.await(ctx, limit, "ready", c.nodes, func(n *member) bool {
		return c.ready(n) && c.count(n, func(r admin.MemberRow) bool { return r.State == "alive" && r.Ready }) == len(c.nodes)
	})
	if err != nil {
		return err
	}
	return c.waitFor(ctx, limit, "the balancer reaches no node", []*child.Process{c.door}, c.doorReady)
}

// await waits until something holds of all the nodes.
func (c *cluster) await(ctx context.Context, limit time.Duration, what string, nodes []*member, is func(*member) bool) error {
	for _, n := range nodes {
		err := c.waitFor(ctx, limit, n.name+" is not "+what, []*child.Process{n.process}, func() bool { return is(n) })
		if err != nil {
			return err
		}
	}
	return nil
}

// waitFor waits until is holds. The error says what did not happen, with the
// last lines of those concerned; so it does when one of them has ended.
func (c *cluster) waitFor(ctx context.Context, limit time.Duration, not string, of []*child.Process, is func() bool) error {
	dead := ""
	err := child.WaitFor(ctx, limit, func() bool {
		for _, p := range of {
			if p.Ended() {
				dead = p.Name + " has ended"
				return true
			}
		}
		return is()
	})
	switch {
	case dead != "":
		not = dead
	case errors.Is(err, child.ErrWaited):
		not += fmt.Sprintf(" after %s", limit)
	default:
		return err
	}
	for _, p := range of {
		not += fmt.Sprintf("\n%s, last lines of %s:\n%s", p.Name, p.Log, p.Tail(12))
	}
	return errors.New(not)
}

func (c *cluster) ready(n *member) bool {
	status, _, err := c.get(n.admin, "/readyz")
	return err == nil && status == http.StatusOK
}

func (c *cluster) doorReady() bool {
	status, _, err := c.get(c.doorAddr, "/")
	return err == nil && status != http.StatusServiceUnavailable && status != http.StatusBadGateway
}

// members are what the node says of all, nil if it doesn't answer.
func (c *cluster) members(n *member) []admin.MemberRow {
	var reply admin.MembersReply
	status, body, err := c.get(n.admin, "/api/v1/members")
	if err != nil || status != http.StatusOK || json.Unmarshal(body, &reply) != nil {
		return nil
	}
	return reply.Members
}

// count counts members by what the node says of them.
func (c *cluster) count(n *member, is func(admin.MemberRow) bool) (count int) {
	for _, r := range c.members(n) {
		if is(r) {
			count++
		}
	}
	return count
}

// sessions is how many the node itself has; -1 if it doesn't say.
func (c *cluster) sessions(n *member) int64 {
	for _, r := range c.members(n) {
		if r.Self {
			return r.Sessions
		}
	}
	return -1
}

// quiet tells whether the node has nothing left to send and misses nothing.
func (c *cluster) quiet(n *member) bool {
	rows := c.members(n)
	for _, r := range rows {
		if r.State == "alive" && !r.Self && (r.Queue > 0 || !r.InSync) {
			return false
		}
	}
	return len(rows) > 0
}

func (c *cluster) get(addr, path string) (status int, body []byte, err error) {
	res, err := c.admin.Get("http://" + addr + path) //nolint:noctx // the client has a timeout
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return res.StatusCode, body, err
}

// others are all nodes but one.
func (c *cluster) others(not *member) (list []*member) {
	for _, n := range c.nodes {
		if n != not {
			list = append(list, n)
		}
	}
	return list
}
