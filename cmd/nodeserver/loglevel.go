package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/config"
)

func newLogLevelCommand(e env) *cobra.Command {
	var to node
	var asJSON bool
	c := &cobra.Command{
		Use:   "log-level [LEVEL] [--conf FILE | --admin ADDR]",
		Short: "Show or change what a running node logs",
		Long: `Show from which level on a running node logs: debug, info, warn or error. With LEVEL,
change that, until it is changed again, the node reads its configuration again (SIGHUP),
or it ends.`,
		Example: "  nodeserver log-level debug --conf conf/node1.toml",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			method, query := http.MethodGet, ""
			if len(args) > 0 {
				var level config.LogLevel
				if err := level.UnmarshalText([]byte(args[0])); err != nil {
					return usageError{err}
				}
				method, query = http.MethodPost, url.Values{"level": {args[0]}}.Encode()
			}
			var reply admin.LogLevelReply
			if _, err := to.call(c.Context(), e, method, "log-level", query, &reply); err != nil {
				return err
			}
			if asJSON {
				return printJSON(e.stdout, reply)
			}
			_, err := fmt.Fprintf(e.stdout, "%s logs from level %s on\n", reply.Node, reply.Level)
			return err
		},
	}
	to.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
