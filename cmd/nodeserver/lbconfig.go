package main

import (
	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/server/balance/recipes"
)

func newLBConfigCommand(e env) *cobra.Command {
	var to node
	var cluster recipes.Cluster
	c := &cobra.Command{
		Use:   "lb-config haproxy|nginx|apache|caddy [--listen ADDR] [--cert FILE] [--nodes-ca FILE] [--conf FILE | --admin ADDR]",
		Short: "Print a balancer's configuration for the nodes of a running cluster",
		Long: `Print a complete configuration file with which a balancer serves the
running cluster: the nodes that a running node sees, sticky by the session cookie,
with probes and retries as they were measured (docs/LOAD-BALANCING.md).`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: recipes.Programs(),
		RunE: func(c *cobra.Command, args []string) error {
			reply, _, err := to.members(c.Context(), e)
			if err != nil {
				return err
			}
			cluster.Name, cluster.Cookie = reply.Cluster, reply.Cookie
			domain := ""
			for _, m := range reply.Members {
				if m.Self {
					domain = m.Domain
				}
			}
			for _, m := range reply.Members { // by name, as the node sorts them
				if m.State != "gone" && m.Domain == domain && m.HTTPAddress != "" {
					cluster.Nodes = append(cluster.Nodes, recipes.Node{Name: m.Name, Address: m.HTTPAddress, TLS: m.HTTPS})
				}
			}
			return recipes.Write(e.stdout, args[0], cluster)
		},
	}
	to.flags(c)
	c.Flags().StringVar(&cluster.Listen, "listen", ":8080", "`ADDR`ess for users, host:port or :port")
	c.Flags().StringVar(&cluster.Cert, "cert", "", "PEM `FILE` with certificate and key, for TLS to users")
	c.Flags().StringVar(&cluster.NodesCA, "nodes-ca", "", "PEM `FILE` with the CA of the nodes' certificates, where nodes speak TLS")
	c.Flags().StringVar(&cluster.NodesName, "nodes-name", "", "`NAME` in the nodes' certificates; nginx needs it, Apache checks none")
	return c
}
