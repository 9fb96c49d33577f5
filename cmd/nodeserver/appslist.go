package main

import (
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/server/admin"
)

func newAppsCommand(e env) *cobra.Command {
	c := &cobra.Command{Use: "apps", Short: "Look at the webapps of a running node, and deploy them on all nodes"}
	c.AddCommand(newAppsListCommand(e), newAppsDeployCommand(e), newAppsRollbackCommand(e), newAppsUndeployCommand(e))
	return c
}

func newAppsListCommand(e env) *cobra.Command {
	var to node
	var asJSON bool
	c := &cobra.Command{
		Use:   "list [--conf FILE | --admin ADDR]",
		Short: "Print the webapps that a running node has, which revision serves, and what went wrong",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var reply admin.AppsReply
			body, err := to.reply(c.Context(), e, "apps", &reply)
			if err != nil {
				return err
			}
			if asJSON {
				_, err = e.stdout.Write(body)
				return err
			}
			return printApps(e.stdout, reply, time.Now())
		},
	}
	to.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printApps(w io.Writer, reply admin.AppsReply, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	put(t, "APP\tPATH\tSTATE\tVERSION\tREVISION\tSINCE\tSESSIONS\tIN FLIGHT\tFROM\n") // what fails comes out of Flush
	for _, a := range reply.Apps {
		since := "-"
		if !a.Since.IsZero() {
			since = now.Sub(a.Since).Round(time.Second).String()
		}
		put(
			t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\n", a.Name, or(a.Path), a.State, or(a.Version),
			or(a.Revision[:min(12, len(a.Revision))]), since, a.Sessions, a.InFlight, a.Origin,
		)
	}
	for _, a := range reply.Apps {
		switch {
		case a.Problem == nil:
		case a.Problem.At == nil:
			put(t, "\n%s is not served: %s\n", a.Name, indented(a.Problem.Reason))
		default:
			put(
				t, "\n%s was not redeployed at %s, the revision before serves: %s\n", a.Name,
				a.Problem.At.Format(time.TimeOnly), indented(a.Problem.Reason),
			)
		}
	}
	return t.Flush()
}
