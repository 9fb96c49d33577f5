package main

import (
	"cmp"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/server/admin"
)

func newAppsCommand(e env) *cobra.Command {
	c := &cobra.Command{Use: "apps", Short: "Look at the webapps of a running node, and deploy them on all nodes"}
	c.AddCommand(newAppsListCommand(e), newAppsDeployCommand(e), newAppsRollbackCommand(e), newAppsUndeployCommand(e),
		newAppsStopCommand(e), newAppsStartCommand(e))
	return c
}

func newAppsListCommand(e env) *cobra.Command {
	var to node
	var here, asJSON bool
	c := &cobra.Command{
		Use:   "list [--conf FILE | --admin ADDR] [--here]",
		Short: "Print the webapps of all nodes: which revision serves where, and what went wrong",
		Long: `Print the webapps of all nodes of the cluster, a line for each app and node: which
revision serves and since when, its sessions, the requests in flight and for how long the
oldest of them has run. A running node asks the others, and one that does not answer
within a second is named. Where nodes serve different revisions of an app, a line says so.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var body []byte
			reply, err := admin.ClusterReply{}, error(nil)
			if here {
				var one admin.AppsReply
				body, err = to.reply(c.Context(), e, "apps", &one)
				reply.Nodes = []admin.NodeRow{{Name: one.Node, Report: &admin.NodeReport{Apps: one.Apps}}}
			} else {
				body, err = to.reply(c.Context(), e, "cluster", &reply)
			}
			if err != nil || asJSON {
				return printed(e, body, err)
			}
			return printApps(e.stdout, reply, time.Now())
		},
	}
	to.flags(c)
	c.Flags().BoolVar(&here, "here", false, "only the node that is asked")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON: of /api/v1/cluster, or with --here of /api/v1/apps")
	return c
}

// hosted is an app at a node.
type hosted struct {
	node string
	admin.AppRow
}

// appsOf are the apps of all nodes, by name and node.
func appsOf(r admin.ClusterReply) (list []hosted) {
	for _, n := range r.Nodes {
		if n.Report != nil {
			for _, a := range n.Report.Apps {
				list = append(list, hosted{n.Name, a})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b hosted) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.node, b.node)) })
	return list
}

func printApps(w io.Writer, r admin.ClusterReply, now time.Time) error {
	list := appsOf(r)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	put(t, "APP\tNODE\tPATH\tSTATE\tVERSION\tREVISION\tHASH\tSINCE\tSESSIONS\tIN FLIGHT\tOLDEST\tFROM\n") // what fails comes out of Flush
	for _, a := range list {
		since, oldest := "-", "-"
		if !a.Since.IsZero() {
			since = now.Sub(a.Since).Round(time.Second).String()
		}
		if a.InFlight > 0 {
			oldest = time.Duration(a.Oldest * float64(time.Second)).Round(time.Millisecond).String()
		}
		put(
			t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\n", a.Name, a.node, or(a.Path), a.State, or(a.Version),
			or(first12(a.Revision)), or(first12(a.Hash)), since, a.Sessions, a.InFlight, oldest, from(a.AppRow),
		)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	printAppProblems(w, list)
	printDifferences(w, list)
	for _, n := range r.Nodes {
		if n.Report == nil {
			put(w, "\n%s: %s\n", n.Name, n.Problem)
		}
	}
	return nil
}

func printAppProblems(w io.Writer, list []hosted) {
	for _, a := range list {
		switch {
		case a.Problem == nil:
		case a.Problem.At == nil:
			put(w, "\n%s is not served by %s: %s\n", a.Name, a.node, indented(a.Problem.Reason))
		default:
			put(
				w, "\n%s was not redeployed at %s at %s, the revision before serves: %s\n", a.Name, a.node,
				a.Problem.At.Format(time.TimeOnly), indented(a.Problem.Reason),
			)
		}
	}
}

// printDifferences names apps of which nodes serve different revisions.
func printDifferences(w io.Writer, list []hosted) {
	by := map[string]map[string][]string{} // nodes by app and revision
	for _, a := range list {
		if a.State == "down" {
			continue
		}
		if by[a.Name] == nil {
			by[a.Name] = map[string][]string{}
		}
		revision := or(first12(a.Revision))
		by[a.Name][revision] = append(by[a.Name][revision], a.node)
	}
	for _, app := range slices.Sorted(maps.Keys(by)) {
		if len(by[app]) < 2 {
			continue
		}
		var parts []string
		for _, revision := range slices.Sorted(maps.Keys(by[app])) {
			parts = append(parts, revision+" at "+strings.Join(by[app][revision], ", "))
		}
		put(w, "\n%s: nodes serve different revisions: %s\n", app, strings.Join(parts, "; "))
	}
}

// from says where an app comes from, in short.
func from(a admin.AppRow) string {
	if a.Hash != "" {
		return "catalog"
	}
	return a.Origin
}

func first12(hash string) string { return hash[:min(12, len(hash))] }
