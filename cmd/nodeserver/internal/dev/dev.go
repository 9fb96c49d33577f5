package dev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/cmd/nodeserver/internal/child"
	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/plugins"
)

// Options says what to serve.
type Options struct {
	Dir     string // of the webapp's package
	Nodes   int    // 1 to 9
	Address string // for the browser: host:port
	Exe     string // the nodeserver binary
	HostSrc string // as in plugins.BuildOptions
	Out     io.Writer
}

// The limits of waiting.
const (
	startLimit = 30 * time.Second
	swapLimit  = 60 * time.Second // New and Health have 40 s
	noticed    = 3 * time.Second  // by then a node has seen the plugin's new file
	grace      = 5 * time.Second  // a child's, to end in order
)

// Run serves the webapp until ctx ends. Then no child process and no file is left. An error says
// why it could not start, or that a node has ended.
func Run(ctx context.Context, o Options) error {
	root, err := plugins.ModuleRoot(o.Dir)
	if err != nil {
		return fmt.Errorf("dev %s: %w", o.Dir, err)
	}
	o.Out = &lines{to: o.Out}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", o.Address)
	if err != nil {
		return fmt.Errorf("the address for the browser: %w: choose another one with --address", err)
	}
	dir, err := os.MkdirTemp("", "nodeserver-dev-")
	if err != nil {
		return errors.Join(fmt.Errorf("a folder for conf and plugin: %w", err), ln.Close())
	}
	defer func() { _ = os.RemoveAll(dir) }()
	c, err := newCluster(o, dir)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	f := newFront(c.target)
	server := &http.Server{Handler: f, ReadHeaderTimeout: 10 * time.Second}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(ln) }) // ends by Close
	defer serving.Wait()
	defer func() { _ = server.Close() }()
	defer c.stop()
	if err := c.start(ctx); err != nil {
		return err
	}
	a := &author{Options: o, cluster: c, front: f, root: root}
	a.url = "http://" + ln.Addr().String()
	return a.work(ctx)
}

// author follows what the webapp's author does.
type author struct {
	Options

	cluster *cluster
	front   *front
	root    string // of the module
	url     string
}

// work builds now, and whenever the sources change.
func (a *author) work(ctx context.Context) error {
	changed, err := watch(ctx, a.root)
	if err != nil {
		return err
	}
	a.say("nodeserver dev: watching %s; Ctrl-C ends", a.root)
	for {
		a.turn(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-a.cluster.broken:
			return errors.New("a node or the balancer has ended: see above")
		case <-changed:
		}
	}
}

// turn builds and deploys once, and says in terminal and browser what is wrong.
func (a *author) turn(ctx context.Context) {
	begin := time.Now()
	built, err := plugins.Build(ctx, plugins.BuildOptions{Dir: a.Dir, Out: a.cluster.webapps(), HostSrc: a.HostSrc})
	if err == nil {
		var path string
		if path, err = a.cluster.serves(ctx, built, begin); err == nil {
			a.front.show("")
			a.say("nodeserver dev: %s%s serves revision %s after %.1f s", a.url, path, built.Revision, time.Since(begin).Seconds())
			return
		}
	}
	if ctx.Err() == nil {
		a.front.show(err.Error())
		a.say("nodeserver dev: %v", err)
	}
}

func (a *author) say(format string, args ...any) { _, _ = fmt.Fprintf(a.Out, format+"\n", args...) }

// serves waits until all nodes serve the build, or one says why it doesn't, and returns its path.
// Of a problem of before the build a node may still tell.
func (c *cluster) serves(ctx context.Context, built plugins.Built, begin time.Time) (path string, err error) {
	ended := time.Now()
	of := func(p *admin.Problem) bool {
		if p == nil || p.At == nil { // of an app that was never served, nodes don't say since when
			return p != nil && time.Since(ended) > noticed
		}
		return p.At.After(begin)
	}
	for _, n := range c.nodes {
		var row admin.AppRow
		failed := child.WaitFor(ctx, swapLimit, func() bool {
			row = c.app(ctx, n, built.File)
			return of(row.Problem) || row.State == "serving" && row.Revision == built.Revision
		})
		if failed != nil {
			return "", fmt.Errorf("node %s does not serve the build: %w", n.name, failed)
		}
		if of(row.Problem) {
			return "", fmt.Errorf("node %s: %s", n.name, row.Problem.Reason)
		}
		path = row.Path
	}
	return path, nil
}

// app is what the node says of the app from the file.
func (c *cluster) app(ctx context.Context, n node, file string) (row admin.AppRow) {
	var reply admin.AppsReply
	if c.ask(ctx, n.admin, "/api/v1/apps", &reply) != nil {
		return row
	}
	for _, a := range reply.Apps {
		if filepath.Base(a.Origin) == filepath.Base(file) {
			return a
		}
	}
	return row
}

// ask gets JSON from a node.
func (c *cluster) ask(ctx context.Context, addr, path string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, http.NoBody)
	if err != nil {
		return err
	}
	res, err := c.client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", path, res.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(into)
}

// lines lets several goroutines write.
type lines struct {
	mu sync.Mutex
	to io.Writer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(b)
}

// quoted is a list of strings in TOML.
func quoted(list []string) string {
	var q []string
	for _, s := range list {
		q = append(q, fmt.Sprintf("%q", s))
	}
	return "[" + strings.Join(q, ", ") + "]"
}
