package main

import (
	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/cmd/nodeserver/internal/dev"
)

func newDevCommand(e env) *cobra.Command {
	var o dev.Options
	c := &cobra.Command{
		Use:   "dev DIR [--nodes 1]",
		Short: "Serve the webapp in DIR, and build it anew whenever it is saved",
		Long: `Build the webapp in DIR, serve it with a node of its own (or several, behind a
balancer), and build and replace it whenever a file of its module changes. Sessions
stay. What is wrong with a build is shown here and in the browser until the next good
one. Ctrl-C ends all, and leaves nothing behind.

Each build stays in the node's memory until dev ends.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			if o.Nodes < 1 || o.Nodes > 9 {
				return usagef("--nodes %d: want 1 to 9", o.Nodes)
			}
			o.Dir, o.Out = args[0], e.stdout
			if o.Exe, err = ownBinary(); err != nil {
				return err
			}
			return dev.Run(c.Context(), o)
		},
	}
	c.Flags().IntVar(&o.Nodes, "nodes", 1, "how many nodes, 1 to 9")
	c.Flags().StringVar(&o.Address, "address", "127.0.0.1:8080", "`HOST:PORT` for the browser")
	c.Flags().StringVar(
		&o.HostSrc, "host-src", "",
		"folder of the sources this nodeserver was built from (default: found around DIR, here or the binary)",
	)
	return c
}
