package main

import (
	"net"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/conf"
	"github.com/nodeserver/nodeserver/server/balance"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/tracing"
)

func newBalanceCommand(e env) *cobra.Command {
	var file string
	var sets []string
	c := &cobra.Command{
		Use:   "balance --conf FILE [--set KEY=VALUE]...",
		Short: "Run the balancer: one address for users, each kept on one node",
		Long: `Run the balancer. Each user is kept on the node that serves their session; when
it dies, the request that finds out goes to another node. Which nodes there are
it learns from the cluster, found as nodes find each other ([cluster],
[channel] tls_*, [membership]); [balance] says where it listens. Where the conf
sets [admin] address, /livez, /readyz and /metrics are there: the default is a
node's, which may run beside it.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var running atomic.Pointer[balance.Balancer]
			d, err := newDaemon(e, file, sets, func(cfg config.Config, log *logging) {
				if b := running.Load(); b != nil {
					b.Reload(cfg, log.Logger)
				}
			})
			if err != nil {
				return err
			}
			defer d.release()
			cfg, origins, log := d.cfg, d.origins, d.log
			if !setsIn(origins, "balance") && setsIn(origins, "node", "webapps") {
				log.Warn("this conf says nothing of a balancer, only of a node, which nodeserver run runs", "file", file)
			}
			b, err := balance.FromConfig(cfg, log.Logger)
			if err != nil {
				return err
			}
			process := tracing.Process{Service: "nodeserver-balance", Version: readVersion().Version}
			tracer, err := tracing.New(c.Context(), process, e.getenv)
			if err != nil {
				return err
			}
			if tracer != nil {
				b.Trace(tracer)
			}
			running.Store(b)
			if cfg.Balance.RedirectAddress != "" {
				plain, err := balance.Listen(c.Context(), "balance.redirect_address", cfg.Balance.RedirectAddress)
				if err != nil {
					return err
				}
				b.Redirect(plain)
			}
			ln, err := balance.Listen(c.Context(), "balance.address", cfg.Balance.Address)
			if err != nil {
				return err
			}
			var admin net.Listener
			if chosen(origins, "admin.address") {
				if admin, err = balance.Listen(c.Context(), "admin.address", cfg.Admin.Address); err != nil {
					return err
				}
			}
			log.Info("balancer open", "addr", ln.Addr().String(), "cluster", cfg.Cluster.Name)
			err = tidy(e, func() error { return b.Run(c.Context(), ln, admin) })
			s := b.Stats()
			log.Info("balancer closed", "requests", s.Requests, "retries", s.Retries, "errors", s.Errors)
			return err
		},
	}
	confFlags(c, &file, &sets)
	must(c.MarkFlagRequired("conf"))
	return c
}

// A balancer lets garbage be collected when there is a third as much as it holds, but not before
// there are 13 MiB of it: what it holds is little, and must stay little under a flood of slow clients.
const (
	doorHeapFloor = 32 << 20
	doorGarbage   = 40 // per cent
)

// tidy sets this for f, unless GOGC or GOMEMLIMIT is in the environment.
func tidy(e env, f func() error) error {
	return withHeapFloor(e, doorHeapFloor, func() error {
		if !slices.ContainsFunc(e.environ, func(v string) bool { return strings.HasPrefix(v, "GOGC=") }) {
			debug.SetGCPercent(doorGarbage)
		}
		return f()
	})
}

// setsIn tells whether somebody has set a key of one of the sections.
func setsIn(origins *conf.Origins, sections ...string) bool {
	return slices.ContainsFunc(origins.Values, func(o conf.Origin) bool {
		section, _, _ := strings.Cut(o.Key, ".")
		return o.From != "default" && slices.Contains(sections, section)
	})
}

// chosen tells whether somebody has set the key's value.
func chosen(origins *conf.Origins, key string) bool {
	return slices.ContainsFunc(origins.Values, func(o conf.Origin) bool { return o.Key == key && o.From != "default" })
}
