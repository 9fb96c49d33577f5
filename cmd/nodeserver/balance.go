package main

import (
	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/conf"
	"github.com/nodeserver/nodeserver/server/balance"
)

func newBalanceCommand(e env) *cobra.Command {
	var file string
	var sets []string
	c := &cobra.Command{
		Use:   "balance --conf FILE [--set KEY=VALUE]...",
		Short: "Run the front door: one address for users, each kept on one node",
		Long: `Run the front door. Each user is kept on the node that serves his session; when
it dies, the request that finds out goes to another node. Which nodes there are
it learns from the cluster, found as nodes find each other ([cluster],
[channel] tls_*, [membership]); [balance] says where it listens.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, origins, err := conf.Load(file, sets, e.environ)
			if err != nil {
				return err
			}
			log := newLogger(e.stderr, cfg.Log)
			for _, w := range origins.Warnings {
				log.Warn("check the configuration", "problem", w.String())
			}
			b, err := balance.FromConfig(cfg, log)
			if err != nil {
				return err
			}
			ln, err := balance.Listen(c.Context(), cfg.Balance.Address)
			if err != nil {
				return err
			}
			log.Info("front door open", "addr", ln.Addr().String(), "cluster", cfg.Cluster.Name)
			err = b.Run(c.Context(), ln)
			s := b.Stats()
			log.Info("front door closed", "requests", s.Requests, "retries", s.Retries, "errors", s.Errors)
			return err
		},
	}
	confFlags(c, &file, &sets)
	must(c.MarkFlagRequired("conf"))
	return c
}
