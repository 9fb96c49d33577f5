package servertest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/nodeserver/nodeserver/server"
	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/webapps"
)

// node is one place of a cluster, dead or alive.
type node struct {
	cfg  config.Config
	addr struct{ http, admin, channel string } // host:port, the same for all its lives
	run  *run                                  // nil: dead. Only the test's goroutine changes it
}

// run is a running node.
type run struct {
	life   *life
	cancel context.CancelFunc
	done   chan error // what Run returned
}

func newNode(i int, app webapps.App, change []func(*config.Config)) (*node, error) {
	n := &node{cfg: nodeConfig(fmt.Sprintf("n%d", i+1))}
	for _, f := range change {
		f(&n.cfg)
	}
	if app.New == nil {
		return nil, fmt.Errorf("app %q has no New function", app.Name)
	}
	return n, nil
}

// config is a node's, made for tests: see the package's text.
func nodeConfig(name string) config.Config {
	return config.Config{
		Node: config.Node{Name: name},
		HTTP: config.HTTP{
			ReadHeaderTimeout: 5 * time.Second,
			MaxHeaderBytes:    64 << 10,
			MaxBodyBytes:      32 << 20,
			ShutdownGrace:     5 * time.Second,
			ExposeNode:        true,
		},
		Admin:   config.Admin{Address: "127.0.0.1:0"},
		Cluster: config.Cluster{Name: "servertest"},
		Channel: config.Channel{
			Address: "127.0.0.1:0", ChangeLogEntries: 65536, Heartbeat: 100 * time.Millisecond,
			SuspectAfter: 2 * time.Second, DownAfter: 6 * time.Second,
		},
		Membership: config.Membership{Providers: []config.Provider{"static"}},
		Webapps:    config.Webapps{Strict: true},
		Sessions: config.Sessions{
			CookieName: "NSESSIONID", MaxInactive: 30 * time.Minute, AbsoluteLifetime: 24 * time.Hour, MaxSessionBytes: 1 << 20,
		},
		Replication: config.Replication{
			Acks: "all", AckTimeout: 5 * time.Second, OnAckTimeout: "proceed", BatchDelay: time.Millisecond,
			RepairInterval: 10 * time.Second, JoinTimeout: time.Minute, JoinPolicy: "wait",
		},
	}
}

// start begins a life at the node's addresses; its first life finds them.
func (n *node) start(app webapps.App, seeds []string, log *slog.Logger) error {
	l := born(n.cfg.Node.Name + "-" + rand.Text())
	listeners := make([]net.Listener, 0, 3)
	for _, at := range []*string{&n.addr.http, &n.addr.admin, &n.addr.channel} {
		ln, err := listen(at)
		if err != nil {
			l.cut()
			return err
		}
		listeners = append(listeners, l.listen(ln))
	}
	cfg := n.cfg
	cfg.Membership.Static = append(cfg.Membership.Static, seeds...)
	s, err := server.New(cfg, []webapps.App{app}, log, server.WithVersion(l.token), server.WithDialer(l.dial),
		server.WithListeners(listeners[0], listeners[1], listeners[2]))
	if err != nil {
		l.cut()
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.run = &run{life: l, cancel: cancel, done: make(chan error, 1)}
	go func() { n.run.done <- s.Run(ctx) }() // Kill, Stop and the test's end wait for it
	return nil
}

// listen opens an address, or a free port whose address it then notes.
func listen(at *string) (net.Listener, error) {
	addr := *at
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	*at = ln.Addr().String()
	return ln, nil
}

// sees tells whether the node is ready and sees all these lives so.
func (n *node) sees(alive map[string]string) bool {
	var reply admin.MembersReply
	if n.ask("/readyz", nil) != nil || n.ask("/api/v1/members", &reply) != nil {
		return false
	}
	found := 0
	for _, m := range reply.Members {
		if alive[m.Name] == m.Version && m.State == "alive" && m.Ready && (m.Self || m.InSync) {
			found++
		}
	}
	return found == len(alive)
}

// ask gets something from the node's address for operators.
func (n *node) ask(path string, into any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.addr.admin+path, http.NoBody)
	if err != nil {
		return err
	}
	res, err := oneShot.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(into)
}

// oneShot makes a new connection for each request, so that whether a node is
// there is known before anything is sent.
var oneShot = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
