package demo

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/cmd/nodeserver/internal/child"
	"github.com/nodeserver/nodeserver/conf"
	"github.com/nodeserver/nodeserver/server/config"
)

// What is written must be what conf reads, whichever way members are found.
func TestConfFiles(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "nodeserver")
	touch(t, filepath.Join(filepath.Dir(exe), "webapps", "cart.so"))
	c, _, err := newCluster(exe, 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(c.dir) })
	for _, c.discovery = range []string{"mdns", "static"} {
		if err := c.writeFiles(); err != nil {
			t.Fatal(err)
		}
		for _, n := range c.nodes {
			cfg := load(t, c, n.name+".toml")
			if cfg.Node.Name != n.name || cfg.HTTP.Address != n.http || cfg.Replication.Acks != "one" ||
				cfg.Replication.OnAckTimeout != "proceed" {
				t.Errorf("%s: %+v", n.name, cfg)
			}
			if cfg.Webapps.Dir != c.webapps || cfg.Cluster.Name != c.name {
				t.Errorf("%s: webapps.dir %s, cluster.name %s", n.name, cfg.Webapps.Dir, cfg.Cluster.Name)
			}
		}
		door := load(t, c, "balance.toml")
		if door.Balance.Address != c.doorAddr || len(door.Membership.Static) != map[string]int{"mdns": 0, "static": 3}[c.discovery] {
			t.Errorf("balancer: %+v", door)
		}
	}
	if info, err := os.Stat(filepath.Join(c.dir, "secret")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("secret: %v %v", info, err)
	}
}

func load(t *testing.T, c *cluster, file string) config.Config {
	t.Helper()
	cfg, origins, err := conf.Load(filepath.Join(c.dir, file), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(origins.Warnings) > 0 {
		t.Errorf("%s: %v", file, origins.Warnings)
	}
	if cfg.Cluster.SecretFile != filepath.Join(c.dir, "secret") || string(cfg.Membership.Providers[0]) != c.discovery {
		t.Errorf("%s: secret %s, providers %v", file, cfg.Cluster.SecretFile, cfg.Membership.Providers)
	}
	return cfg
}

func touch(t *testing.T, file string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A node that is started again must find its port free, so it must not be one
// that the kernel gives to outgoing connections.
func TestFreePorts(t *testing.T) {
	list, err := child.FreePorts(20)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, a := range list {
		_, p, _ := net.SplitHostPort(a)
		if n, _ := strconv.Atoi(p); seen[a] || n < 20000 || n >= 30000 {
			t.Errorf("port %s", a)
		}
		seen[a] = true
	}
}

func TestMissingPlugin(t *testing.T) {
	r := Run(t.Context(), Options{Exe: filepath.Join(t.TempDir(), "nodeserver"), Nodes: 3, Drive: 3 * time.Second})
	if r.Pass || !strings.Contains(r.Line(), "run: make webapps") || strings.Contains(r.Line(), "logs") {
		t.Errorf("%s", r.Line())
	}
}

// A binary that ends at once is told of with what it said, and nothing of the
// demo stays but its logs.
func TestNodeThatCannotStart(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "nodeserver")
	touch(t, filepath.Join(filepath.Dir(exe), "webapps", "cart.so"))
	if err := os.WriteFile(
		exe,
		[]byte("#!/bin/sh\necho \"$1: no port is good enough\" >&2\nexit 1\n"),
		0o700,
	); err != nil { //nolint:gosec // to be run
		t.Fatal(err)
	}
	var out strings.Builder
	r := Run(t.Context(), Options{Exe: exe, Nodes: 2, Drive: 3 * time.Second, Out: &out})
	t.Cleanup(func() { _ = os.RemoveAll(r.Logs) })
	if r.Pass || !strings.Contains(r.Line(), "first: n1 has ended; logs: "+r.Logs) || strings.Contains(r.Line(), "\n") {
		t.Errorf("%s", r.Line())
	}
	if !strings.Contains(out.String(), "  run: no port is good enough\n") {
		t.Errorf("time line:\n%s", out.String())
	}
	if _, err := os.Stat(filepath.Join(r.Logs, "n1.log")); err != nil {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	for _, tc := range []struct {
		o    Options
		want string
	}{
		{Options{Nodes: 3, Drive: 9 * time.Second}, ""},
		{Options{Nodes: 1, Drive: 9 * time.Second}, "2 to 9 nodes, not 1"},
		{Options{Nodes: 3, Drive: time.Second}, "3 to 3600 seconds, not 1"},
	} {
		if err := tc.o.Check(); (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v", tc.o, err)
		}
	}
}
