package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/bench/loadgen"
)

// Env says where things are; all paths are absolute.
type Env struct {
	Dir        string // for what clusters write; each makes a folder there
	Peers      string // folder of the Go peers' programs
	Nodeserver string // the program
	Webapps    string // folder of its plugins
	Tomcat     string // folder with lib/ and bin/ of Tomcat
	Source     string // folder of this module
}

// Kind is one way to run servers.
type Kind struct {
	ID         string
	Title      string
	Size       int              // processes that serve users, where the number is not what is measured
	Sessions   bool             // it has more than /raw
	Replicated bool             // a session shows at every node
	Kept       bool             // its start and warm-up take so long that it is started once for all rounds
	InTurn     bool             // each node is started when the one before answers
	Bulk       bool             // it has /fill and /count
	Warm       time.Duration    // of load before anything is measured
	Missing    func(Env) string // why it can't run here; "" if it can
	plan       func(*Cluster) error
}

// Cluster is some nodes of a kind, running.
type Cluster struct {
	Kind
	env   Env
	dir   string
	size  int
	base  int  // first port
	redis bool // what goes over the wire goes to Redis
	conf  map[string]string
	procs []*Process // of the nodes in their order, nil where not running
	more  []*Process // what they need besides: Redis, the balancer

	// Idle is how many cores all processes use without load; whoever measured it
	// says so here, and it goes with each Target.
	Idle float64

	node func(i int) (*Process, error) // starts one node
	heap func(ctx context.Context, i int) (int64, error)
}

// Ports of a cluster, from its base; each node adds its number from 0.
const (
	portHTTP    = 1
	portAdmin   = 41
	portChannel = 81
	portRedis   = 121
	portDoor    = 122
	portsEach   = 200
)

// Start starts size nodes of the kind and waits until they form a whole. On an error
// nothing is left running.
func Start(ctx context.Context, env Env, k Kind, size int) (*Cluster, error) {
	dir, err := os.MkdirTemp(env.Dir, k.ID+"-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{Kind: k, env: env, dir: dir, size: size, base: basePort(k), procs: make([]*Process, size)}
	err = k.plan(c)
	for i := 0; i < size && err == nil; i++ {
		err = c.StartNode(i)
		if err == nil && k.InTurn {
			err = c.wait(ctx, i)
		}
	}
	if err == nil {
		err = c.whole(ctx)
	}
	if err != nil {
		err = fmt.Errorf("start %s: %w%s", k.ID, err, c.tails())
		c.Stop()
		return nil, err
	}
	return c, nil
}

func basePort(k Kind) int {
	for i, other := range Kinds() {
		if other.ID == k.ID {
			return 20000 + portsEach*i
		}
	}
	return 20000 + portsEach*len(Kinds())
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func (c *Cluster) http(i int) string    { return address(c.base + portHTTP + i) }
func (c *Cluster) admin(i int) string   { return address(c.base + portAdmin + i) }
func (c *Cluster) channel(i int) string { return address(c.base + portChannel + i) }

// Name is what node i calls itself.
func (c *Cluster) Name(i int) string { return fmt.Sprintf("n%d", i+1) }

// StartNode starts node i; it does not wait until it answers.
func (c *Cluster) StartNode(i int) error {
	p, err := c.node(i)
	if err == nil {
		c.procs[i] = p
	}
	return err
}

// EndNode ends node i in order and waits for it.
func (c *Cluster) EndNode(i int) {
	c.procs[i].stop(5 * time.Second)
	c.procs[i] = nil
}

// KillNode ends node i as kill -9 does.
func (c *Cluster) KillNode(i int) error { return c.procs[i].Kill() }

// Target is what to drive: the nodes that were started.
func (c *Cluster) Target() loadgen.Target {
	t := loadgen.Target{PIDs: c.PIDs(), Idle: c.Idle}
	for i, p := range c.procs {
		if p != nil {
			t.Nodes = append(t.Nodes, c.http(i))
		}
	}
	return t
}

// One is Target with node i alone, and the CPU of all.
func (c *Cluster) One(i int) loadgen.Target {
	return loadgen.Target{Nodes: []string{c.http(i)}, PIDs: c.PIDs()}
}

// PIDs are the ids of all processes, those besides the nodes too.
func (c *Cluster) PIDs() (ids []int) {
	for _, p := range c.all() {
		if !p.ended() {
			ids = append(ids, p.PID())
		}
	}
	return ids
}

// Alive says whether all that was started still runs.
func (c *Cluster) Alive() bool { return len(c.PIDs()) == len(c.all()) }

func (c *Cluster) all() (list []*Process) {
	for _, p := range append(append([]*Process{}, c.procs...), c.more...) {
		if p != nil {
			list = append(list, p)
		}
	}
	return list
}

// Memory is the sum over all processes, in bytes. Heap is what is in use after a
// collection, of the nodes; RSS is taken after that.
type Memory struct{ Heap, RSS int64 }

// Memory collects garbage and measures.
func (c *Cluster) Memory(ctx context.Context) (m Memory, err error) {
	for i, p := range c.procs {
		if p == nil || c.heap == nil {
			continue
		}
		heap, err := c.heap(ctx, i)
		if err != nil {
			return m, fmt.Errorf("heap of %s: %w", p.Name, err)
		}
		m.Heap += heap
	}
	for _, p := range c.all() {
		rss, err := p.RSS()
		if err != nil {
			return m, err
		}
		m.RSS += rss
	}
	return m, nil
}

// wait waits until node i answers.
func (c *Cluster) wait(ctx context.Context, i int) error {
	return c.answersAt(ctx, c.http(i), c.procs[i])
}

func (c *Cluster) answersAt(ctx context.Context, host string, p *Process) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := loadgen.Answers(loadgen.Target{Nodes: []string{host}, Timeout: 5 * time.Second}, 0)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.done:
			return fmt.Errorf("%s ended: %s", p.Name, p.last())
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", p.Name, err)
		}
	}
}

// whole waits until all nodes answer and see each other's sessions.
func (c *Cluster) whole(ctx context.Context) error {
	for i, p := range c.procs {
		if p == nil {
			continue
		}
		if err := c.wait(ctx, i); err != nil {
			return err
		}
	}
	if !c.Replicated {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 60*time.Second, errors.New("not within 60s"))
	defer cancel()
	return loadgen.Seen(ctx, c.Target())
}

// Stop ends all processes, waits for them, and removes the folder.
func (c *Cluster) Stop() {
	var all sync.WaitGroup
	for _, p := range c.all() {
		all.Go(func() { p.stop(5 * time.Second) })
	}
	all.Wait()
	_ = os.RemoveAll(c.dir) // only takes space
}

// tails is what the processes printed last.
func (c *Cluster) tails() (text string) {
	for _, p := range c.all() {
		text += "\n" + p.Name + " printed last:\n" + p.tail()
	}
	return text
}

// write writes a file into the cluster's folder and returns its path.
func (c *Cluster) write(name, text string) (string, error) {
	path := filepath.Join(c.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

func missingFiles(files ...string) string {
	for _, f := range files {
		if _, err := os.Stat(f); err != nil {
			return "there is no " + f
		}
	}
	return ""
}
