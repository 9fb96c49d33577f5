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

// Exit codes of status, as monitoring plugins have them.
const (
	statusGood     = 0
	statusWarning  = 1
	statusCritical = 2
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
				return exitError(statusCritical)
			}
			s := judge(reply)
			if asJSON {
				err = json.NewEncoder(e.stdout).Encode(s)
			} else if err = printStatus(e.stdout, s); err == nil {
				err = printCluster(e.stdout, reply)
			}
			if err != nil || s.Code == statusGood {
				return err
			}
			return exitError(s.Code)
		},
	}
	to.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// verdict is what status says.
type verdict struct {
	Schema  string   `json:"schema"` // nodeserver.status/1
	Node    string   `json:"node"`   // who was asked
	Code    int      `json:"code"`   // the exit code
	Verdict string   `json:"verdict"`
	Wrong   []fault  `json:"wrong"`
	ready   []string // members that serve users
}

// fault is one thing that is wrong.
type fault struct {
	What string `json:"what"`
	Do   string `json:"do"`
}

// judge looks at what a node says of the cluster.
func judge(r admin.ClusterReply) verdict {
	v := verdict{Schema: "nodeserver.status/1", Node: r.Node, Wrong: []fault{}}
	serves := false
	for _, n := range r.Nodes {
		if n.Report == nil {
			if !back(r, n) {
				v.silent(n)
			}
			continue
		}
		if n.Report.Ready && !n.Report.Draining {
			v.ready = append(v.ready, n.Name)
			serves = serves || n.Self
		}
		v.look(*n.Report)
	}
	v.views(r)
	v.differ(r, "versions", "a rolling restart ends that", func(n admin.NodeReport) string { return n.Version })
	v.differ(r, "configurations", "compare their files", func(n admin.NodeReport) string { return n.ConfDigest })
	switch {
	case len(v.ready) == 0:
		v.Code, v.Verdict = statusCritical, "No node serves users."
	case !serves:
		v.Code, v.Verdict = statusCritical, fmt.Sprintf("%s does not serve users; %s do.", r.Node, strings.Join(v.ready, ", "))
	case len(v.Wrong) > 0:
		v.Code, v.Verdict = statusWarning, fmt.Sprintf("Users are served by %s; wrong: %d.", strings.Join(v.ready, ", "), len(v.Wrong))
	case len(v.ready) == 1:
		v.Verdict = fmt.Sprintf("All is well with %s, which is alone: its sessions end with it.", r.Node)
	default:
		v.Verdict = fmt.Sprintf("All is well: %d members serve users, none lacks a session.", len(v.ready))
	}
	return v
}

func (v *verdict) wrong(do, what string, args ...any) {
	v.Wrong = append(v.Wrong, fault{fmt.Sprintf(what, args...), do})
}

// back tells whether a node that is gone has started again since.
func back(r admin.ClusterReply, n admin.NodeRow) bool {
	return n.State == "gone" && slices.ContainsFunc(r.Nodes, func(o admin.NodeRow) bool { return o.Name == n.Name && o.State != "gone" })
}

// silent notes a member that has said nothing, unless it has left.
func (v *verdict) silent(n admin.NodeRow) {
	switch {
	case n.Left:
	case n.State == "gone":
		v.wrong("start it, if it is to be there", "%s is gone", n.Name)
	default:
		v.wrong("look at that machine and the network between", "%s, which is %s, said nothing: %s", n.Name, n.State, n.Problem)
	}
}

// look notes what is wrong at a node by its own account.
func (v *verdict) look(n admin.NodeReport) {
	switch {
	case n.Waiting != "":
		v.wrong("start the members that are missing, or see membership.expect", "%s waits: %s", n.Node, n.Waiting)
	case n.Draining:
		v.wrong("nodeserver undrain, if it is to have users", "%s drains: it stops, or an operator asked for it", n.Node)
	case !n.Ready:
		v.wrong("its /readyz says what it waits for", "%s is not ready", n.Node)
	}
	for _, a := range n.Apps {
		switch {
		case a.Problem == nil:
		case a.State == "down":
			v.wrong("mend it and put it in place again, or see: nodeserver doctor",
				"app %s is not served by %s: %s", a.Name, n.Node, a.Problem.Reason)
		default:
			v.wrong("mend it and deploy it again",
				"app %s was not redeployed at %s, the revision before serves: %s", a.Name, n.Node, a.Problem.Reason)
		}
	}
	for _, p := range n.Providers {
		if p.Problem != "" {
			v.wrong("see: nodeserver doctor --conf FILE", "%s can't find members by %s: %s", n.Node, p.Name, p.Problem)
		}
	}
}

// views notes which nodes don't see each other, and which lack sessions.
func (v *verdict) views(r admin.ClusterReply) {
	for _, n := range r.Nodes {
		for _, o := range r.Nodes {
			if n.Report == nil || o.Report == nil || n.Name == o.Name {
				continue // that one of them says nothing is noted already
			}
			m, known := sees(n, o)
			switch {
			case !known:
				v.wrong("look at the network between the two", "%s does not know %s", n.Name, o.Name)
			case m.State != "alive":
				v.wrong("look at the network between the two", "%s sees %s as %s", n.Name, o.Name, m.State)
			case !m.InSync:
				v.wrong("wait; if it stays so, see nodeserver_replication_in_sync and the log",
					"%s lacks sessions of %s yet", n.Name, o.Name)
			}
		}
	}
}

// sees is how one node sees another.
func sees(n, other admin.NodeRow) (admin.MemberRow, bool) {
	i := slices.IndexFunc(n.Report.Members, func(m admin.MemberRow) bool {
		return m.Name == other.Name && m.Incarnation == other.Incarnation
	})
	if i < 0 {
		return admin.MemberRow{}, false
	}
	return n.Report.Members[i], true
}

// differ notes what should be the same on all nodes.
func (v *verdict) differ(r admin.ClusterReply, what, do string, of func(admin.NodeReport) string) {
	nodes := map[string][]string{}
	for _, n := range r.Nodes {
		if n.Report != nil {
			nodes[of(*n.Report)] = append(nodes[of(*n.Report)], n.Name)
		}
	}
	if len(nodes) < 2 {
		return
	}
	var list []string
	for _, is := range slices.Sorted(maps.Keys(nodes)) {
		list = append(list, fmt.Sprintf("%s (%s)", is, strings.Join(nodes[is], ", ")))
	}
	v.wrong(do, "nodes have different %s: %s", what, strings.Join(list, "; "))
}

func printStatus(w io.Writer, v verdict) error {
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
	m, known := sees(n, other)
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
				text = strings.TrimSpace(a.State + " " + cmp.Or(a.Version, a.Revision[:min(12, len(a.Revision))]))
			}
			put(t, "\t%s", text)
		}
		put(t, "\n")
	}
	return t.Flush()
}
