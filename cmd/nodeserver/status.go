package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/server/admin"
)

// exitError ends a command with this exit code when all is said already.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func newStatusCommand(e env) *cobra.Command {
	var to node
	var asJSON bool
	c := &cobra.Command{
		Use:   "status [--conf FILE | --admin ADDR]",
		Short: "Say in one sentence how a cluster is, and what is wrong and what to do",
		Long: `Say how the cluster is: a verdict in one sentence, what is wrong and what to do about
it, which node sees which, and the webapps. A running node asks all members at once; one
that does not answer within a second is named. Exit code 0: all is well; 1: users are
served, but something is wrong; 2: the node does not serve users, or does not answer.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var reply admin.ClusterReply
			_, err := to.reply(c.Context(), e, "cluster", &reply)
			if err != nil {
				put(e.stderr, "nodeserver: %s\n", err)
				return exitError(admin.Critical)
			}
			s := admin.Judge(reply)
			if asJSON {
				err = json.NewEncoder(e.stdout).Encode(s)
			} else if err = printStatus(e.stdout, s); err == nil {
				err = printCluster(e.stdout, reply)
			}
			if err != nil || s.Code == admin.Good {
				return err
			}
			return exitError(s.Code)
		},
	}
	to.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printStatus(w io.Writer, v admin.Verdict) error {
	if _, err := fmt.Fprintln(w, v.Verdict); err != nil {
		return err
	}
	for _, f := range v.Wrong {
		put(w, "  %s\n      %s\n", indented(f.What), f.Do)
	}
	put(w, "\n")
	return nil
}

// printCluster prints a line for each node, with how it sees the others, and one for each app.
func printCluster(w io.Writer, r admin.ClusterReply) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	put(t, "NODE\tREADY\tSESSIONS\tIN FLIGHT\tVERSION\tCONF") // what fails comes out of Flush
	for _, o := range r.Nodes {
		put(t, "\tSEES %s", o.Name)
	}
	put(t, "\n")
	for _, n := range r.Nodes {
		name := n.Name
		if n.Self {
			name += "*"
		}
		if n.Report == nil {
			put(t, "%s\t%s\t-\t-\t-\t-%s\n", name, n.Problem, strings.Repeat("\t-", len(r.Nodes)))
			continue
		}
		s := n.Report
		put(t, "%s\t%s\t%d\t%d\t%s\t%s", name, readiness(*s), sessions(*s), s.InFlight, s.Version, s.ConfDigest)
		for _, o := range r.Nodes {
			put(t, "\t%s", view(n, o))
		}
		put(t, "\n")
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return printAppsOfAll(w, r)
}

func readiness(n admin.NodeReport) string {
	switch {
	case n.Draining:
		return "draining"
	case n.Ready:
		return "yes"
	}
	return "no"
}

func sessions(n admin.NodeReport) (sum int64) {
	for _, a := range n.Apps {
		sum += a.Sessions
	}
	return sum
}

// view is how a node sees another, in a word or two.
func view(n, other admin.NodeRow) string {
	m, known := admin.Sees(n, other)
	switch {
	case n.Name == other.Name:
		return "-"
	case !known:
		return "unknown"
	case m.State != "alive":
		return m.State
	case !m.InSync:
		return "lacks sessions"
	case m.Queue > 0:
		return fmt.Sprintf("ok, owes %d", m.Queue)
	}
	return "ok"
}

// printAppsOfAll prints which node serves what of each app.
func printAppsOfAll(w io.Writer, r admin.ClusterReply) error {
	apps := map[string]map[string]admin.AppRow{}
	for _, n := range r.Nodes {
		if n.Report == nil {
			continue
		}
		for _, a := range n.Report.Apps {
			if apps[a.Name] == nil {
				apps[a.Name] = map[string]admin.AppRow{}
			}
			apps[a.Name][n.Name] = a
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	put(t, "\nAPP")
	for _, n := range r.Nodes {
		put(t, "\t%s", n.Name)
	}
	put(t, "\n")
	for _, name := range slices.Sorted(maps.Keys(apps)) {
		put(t, "%s", name)
		for _, n := range r.Nodes {
			a, ok := apps[name][n.Name]
			text := "-"
			if ok {
				text = strings.TrimSpace(a.State + " " + cmp.Or(a.Version, first12(a.Revision)))
			}
			put(t, "\t%s", text)
		}
		put(t, "\n")
	}
	return t.Flush()
}
