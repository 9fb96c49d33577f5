package balance_test

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/channel/grpctransport"
	"github.com/nodeserver/nodeserver/server/balance"
	"github.com/nodeserver/nodeserver/server/config"
)

// A member may announce any address as that of its HTTP listener: an admin
// address, another member's, a neighbour's. Users' requests don't go there.
func TestAForgedAddressGetsNoRequest(t *testing.T) {
	admin := newBackend(t, "admin")
	n1 := newBackend(t, "n1")
	n1.incarnation = 1
	for name, forged := range map[string]balance.Node{
		"an admin address":               {Name: "n9", Incarnation: 9, Address: admin.addr},
		"another member":                 {Name: "n9", Incarnation: 9, Address: n1.addr},
		"a former incarnation of itself": {Name: "n1", Incarnation: 2, Address: n1.addr},
	} {
		d := open(t, balance.Fixed{forged})
		until(t, "the list", func() bool { return d.log.count("node added") == 1 })
		if status, got := d.ask(t, "GET", "", "x.n9"); status != http.StatusServiceUnavailable {
			t.Errorf("%s: the request was answered: %d %q", name, status, got)
		}
		if status, got := d.ask(t, "POST", "", "x.n9"); status != http.StatusServiceUnavailable {
			t.Errorf("%s: the POST was answered: %d %q", name, status, got)
		}
	}
	d := open(t, balance.Fixed{{Name: "n9", Incarnation: 9, Address: admin.addr}, {Name: "n1", Incarnation: 1, Address: n1.addr}})
	until(t, "an answer of n1", func() bool { _, got := d.ask(t, "GET", "", "x.n9"); return got == "n1 " })
	if n := admin.hits.Load(); n != 0 {
		t.Errorf("%d requests came to the admin address", n)
	}
}

// Without proof a member's announcement leads the balancer to loopback only.
func TestWithoutProofNoRequestLeavesTheMachine(t *testing.T) {
	cfg := balance.Config{Dialer: grpctransport.Security{}.Dialer(0)}
	d := openWith(t, cfg, balance.Fixed{{Name: "n1", Incarnation: 1, Address: "192.0.2.1:8081"}})
	until(t, "the list", func() bool { return d.log.count("node added") == 1 })
	if status, got := d.ask(t, "GET", "", "x.n1"); status != http.StatusServiceUnavailable {
		t.Errorf("answered: %d %q", status, got)
	}
	if d.log.count("only this machine's loopback addresses are dialled") == 0 {
		t.Error("the log does not say why")
	}
}

// Nodes of another domain get requests only while none of its own can be had.
func TestTheBalancerPrefersItsDomain(t *testing.T) {
	own, far := newBackend(t, "own"), newBackend(t, "far")
	d := openWith(t, balance.Config{Domain: "east"}, balance.Fixed{
		{Name: "own", Address: own.addr, Domain: "east", Use: balance.Spare},
		{Name: "far", Address: far.addr, Domain: "west"},
	})
	until(t, "an answer", func() bool { s, _ := d.ask(t, "GET", ""); return s == http.StatusOK })
	for range 20 {
		if _, got := d.ask(t, "GET", "", "x.far"); got != "own " {
			t.Errorf("answered by %q, though the domain's own node serves", got)
		}
	}
	own.kill()
	for range 20 {
		if _, got := d.ask(t, "GET", "", "x.own"); got != "far " {
			t.Errorf("answered by %q, though only another domain serves", got)
		}
	}
	own.start(t)
	until(t, "the own node again", func() bool { _, got := d.ask(t, "GET", ""); return got == "own " })
}

// The balancer refuses what a node refuses, and says the same.
func TestTheBalancerRefusesWhatANodeRefuses(t *testing.T) {
	for key, change := range map[string]func(*config.Config){
		"channel.address":      func(c *config.Config) { c.Channel.Address = "10.0.0.1:4001" },
		"channel.advertise":    func(c *config.Config) { c.Channel.Advertise = "10.0.0.1:4001" },
		"membership.interface": func(c *config.Config) { c.Membership.Interface = "eth0" },
		"membership.static":    func(c *config.Config) { c.Membership.Static = []string{"localhost:4001", "10.0.0.1:4001"} },
	} {
		cfg := config.Config{Cluster: config.Cluster{Name: "shop"}, Channel: config.Channel{Address: "127.0.0.1:4001"}}
		cfg.Membership.Providers = []config.Provider{"mdns", "static"}
		change(&cfg)
		_, err := balance.FromConfig(cfg, slog.New(slog.DiscardHandler))
		if err == nil || !strings.HasPrefix(err.Error(), key+": ") || !strings.Contains(err.Error(), "cluster.secret_file") {
			t.Errorf("%s: the balancer starts: %v", key, err)
		}
	}
}
