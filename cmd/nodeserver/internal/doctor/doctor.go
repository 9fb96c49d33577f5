// Package doctor looks at a machine, a conf file and a plugin for what would keep
// a node from starting, from finding the others, or from loading the plugin.
//
// Each finding says what was looked at, how it is, and what to do about it. It
// changes nothing: ports are bound for a moment, the mDNS group is joined for a
// moment, and the only network traffic is one HTTP request to each member that the
// running node names.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/nodeserver/nodeserver/channel/listen"
	"github.com/nodeserver/nodeserver/conf"
	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/cluster"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/plugins"
)

// Level is how bad a finding is.
type Level string

// The levels. A node runs with warnings, and not with failures.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail"
)

// Finding is one line of the report.
type Finding struct {
	Level Level  `json:"level"`
	What  string `json:"what"` // was looked at
	Text  string `json:"text"` // how it is, and the cure
}

// Options say what to look at.
type Options struct {
	Conf    string   // file; empty: the machine only
	Environ []string // as os.Environ gives it
	Plugin  string   // file; empty: none
	// Members asks the node that runs with the conf; nil: none is asked.
	Members func(context.Context) (admin.MembersReply, error)
}

// Run looks, and returns what it found in the order of the checks.
func Run(ctx context.Context, o Options) []Finding {
	var r report
	r.tools(ctx)
	r.descriptors()
	if o.Plugin != "" {
		r.add("plugin", plugins.Check(o.Plugin), o.Plugin+" fits this nodeserver")
	}
	if o.Conf == "" {
		return r.findings
	}
	cfg, ok := r.conf(o)
	if !ok {
		return r.findings
	}
	_, err := cluster.Security(cfg, cfg.Node.Name)
	r.add("security", err, security(cfg))
	reply, running := admin.MembersReply{}, false
	if o.Members != nil {
		reply, err = o.Members(ctx)
		running = err == nil &&
			slices.ContainsFunc(reply.Members, func(m admin.MemberRow) bool { return m.Self && m.Name == cfg.Node.Name })
	}
	r.ports(cfg, running)
	r.discovery(cfg)
	r.webapps(cfg)
	if running {
		r.members(ctx, reply)
	}
	return r.findings
}

type report struct{ findings []Finding }

func (r *report) say(l Level, what, format string, args ...any) {
	r.findings = append(r.findings, Finding{l, what, fmt.Sprintf(format, args...)})
}

// add says the error, or that all is well.
func (r *report) add(what string, err error, good string) {
	if err != nil {
		r.say(Fail, what, "%v", err)
		return
	}
	r.say(OK, what, "%s", good)
}

// tools says what building a webapp needs.
func (r *report) tools(ctx context.Context) {
	found, err := plugins.Tools(ctx)
	switch {
	case err != nil: // a node runs without them
		r.say(Warn, "build tools", "%v", err)
	default:
		r.say(OK, "build tools", "%s", found)
	}
}

func (r *report) descriptors() {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		r.say(Warn, "file descriptors", "the limit is not known: %v", err)
		return
	}
	if limit.Max < listen.Few {
		r.say(
			Warn, "file descriptors",
			"%d at most, each user's connection takes one: raise it to %d or more (ulimit -Hn, LimitNOFILE in a systemd unit)",
			limit.Max, listen.Few,
		)
		return
	}
	r.say(OK, "file descriptors", "%d at most", limit.Max)
}

func (r *report) conf(o Options) (config.Config, bool) {
	cfg, origins, err := conf.Load(o.Conf, nil, o.Environ)
	var wrong *conf.Error
	switch {
	case errors.As(err, &wrong):
		for _, p := range wrong.Problems {
			r.say(Fail, "conf", "%s", p)
		}
		return cfg, false
	case err != nil:
		r.say(Fail, "conf", "%v", err)
		return cfg, false
	}
	for _, w := range origins.Warnings {
		r.say(Warn, "conf", "%s", w)
	}
	r.say(OK, "conf", "%s: node %s of cluster %s", o.Conf, cfg.Node.Name, cfg.Cluster.Name)
	return cfg, true
}

func security(cfg config.Config) string {
	switch {
	case cfg.Channel.TLSCA != "":
		return "members prove by certificates of " + cfg.Channel.TLSCA
	case cfg.Cluster.SecretFile != "":
		return "members prove by the secret in " + cfg.Cluster.SecretFile
	case cfg.Channel.Insecure:
		return "members prove nothing: everybody on the network is trusted (channel.insecure)"
	}
	return "members prove nothing, and only this machine's are believed"
}

// ports tries to listen where the node will.
func (r *report) ports(cfg config.Config, running bool) {
	for _, p := range []struct{ key, address string }{
		{"http.address", cfg.HTTP.Address}, {"channel.address", cfg.Channel.Address}, {"admin.address", cfg.Admin.Address},
	} {
		if p.address == "" {
			continue
		}
		l, err := net.Listen("tcp", p.address) //nolint:noctx // ends at once
		switch {
		case err == nil:
			_ = l.Close() // nobody connected
			r.say(OK, p.key, "%s is free", p.address)
		case running:
			r.say(OK, p.key, "%s is held by the node that runs", p.address)
		case errors.Is(err, syscall.EADDRINUSE):
			r.say(Fail, p.key, "%s is taken by another program: find it with ss -ltnp, or choose another address", p.address)
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			r.say(Fail, p.key, "%s is no address of this machine: see ip address", p.address)
		case errors.Is(err, syscall.EACCES):
			r.say(Fail, p.key, "%s needs a right that this user lacks: choose a port from 1024 on", p.address)
		default:
			r.say(Fail, p.key, "%v", err)
		}
	}
}

// discovery tries each way to find members.
func (r *report) discovery(cfg config.Config) {
	m := cfg.Membership
	for _, name := range m.Providers {
		what := "membership " + string(name)
		switch name {
		case config.ProviderMDNS:
			self := membership.Member{ID: membership.ID{Name: cfg.Node.Name, Incarnation: 1}, ChannelAddress: cfg.Channel.Address}
			_, err := membership.NewMulticast(membership.MulticastConfig{
				Cluster: cfg.Cluster.Name, Self: self, Interface: m.Interface, Interval: m.MDNSInterval,
			}, slog.New(slog.DiscardHandler))
			switch {
			case err != nil && len(m.Providers) == 1:
				r.say(Fail, what, "%v", err)
			case err != nil:
				r.say(Warn, what, "%v; members are found by: %s", err, others(m.Providers))
			default:
				r.say(OK, what, "the interface carries multicast; UDP port %d is %s", portMDNS, holders(portMDNS))
			}
		case config.ProviderStatic:
			r.say(OK, what, "%d addresses: %s", len(m.Static), strings.Join(m.Static, ", "))
		case config.ProviderDNS:
			r.resolve(what, m.DNSName)
		case config.ProviderFile:
			r.say(OK, what, "%s", m.File)
		}
	}
}

func others(providers []config.Provider) string {
	var names []string
	for _, p := range providers {
		if p != config.ProviderMDNS {
			names = append(names, string(p))
		}
	}
	return strings.Join(names, ", ")
}

func (r *report) resolve(what, address string) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	ips, err := net.LookupHost(host) //nolint:noctx // bounded by the resolver
	if err != nil {
		r.say(Fail, what, "%v: is the name right, and the DNS server reached?", err)
		return
	}
	r.say(OK, what, "%s is %s", host, strings.Join(ips, ", "))
}

// webapps checks each plugin that the node will load.
func (r *report) webapps(cfg config.Config) {
	if cfg.Webapps.Dir == "" {
		return
	}
	files, err := plugins.Scan(cfg.Webapps.Dir)
	if err != nil {
		r.say(Fail, "webapps.dir", "%v", err)
		return
	}
	if len(files) == 0 {
		r.say(Warn, "webapps.dir", "no plugin (NAME.so) in %s", cfg.Webapps.Dir)
	}
	for _, f := range files {
		r.add("webapps.dir", plugins.Check(f.Path), f.Path+" fits this nodeserver")
	}
}
