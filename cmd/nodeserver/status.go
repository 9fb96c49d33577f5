package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

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
		Long: `Say how the cluster is as a running node sees it: a verdict in one sentence, what is
wrong and what to do about it, and the members. Exit code 0: all is well; 1: users are
served, but something is wrong; 2: the node does not serve users, or does not answer.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			reply, _, err := to.members(c.Context(), e)
			if err != nil {
				put(e.stderr, "nodeserver: %s\n", err)
				return exitError(statusCritical)
			}
			s := judge(reply)
			if asJSON {
				err = json.NewEncoder(e.stdout).Encode(s)
			} else if err = printStatus(e.stdout, s); err == nil {
				err = printMembers(e.stdout, reply)
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
func judge(r admin.MembersReply) verdict {
	v := verdict{Schema: "nodeserver.status/1", Node: r.Node, Wrong: []fault{}}
	serves := false
	for _, m := range r.Members {
		if m.Ready && m.State == "alive" && !m.Draining {
			v.ready = append(v.ready, m.Name)
			serves = serves || m.Self
		}
		if what, do := wrong(r.Node, m); what != "" {
			v.Wrong = append(v.Wrong, fault{what, do})
		}
	}
	if r.Waiting != "" {
		v.Wrong = append(v.Wrong, fault{r.Node + " waits: " + r.Waiting, "start the members that are missing, or see membership.expect"})
	}
	for _, d := range r.Down {
		v.Wrong = append(v.Wrong, fault{
			"app " + d.Name + " is not served by " + r.Node + ": " + d.Reason,
			"mend it and put it in place again, or see: nodeserver doctor",
		})
	}
	for _, p := range r.Providers {
		if p.Problem != "" {
			v.Wrong = append(v.Wrong, fault{"members can't be found by " + p.Name + ": " + p.Problem, "see: nodeserver doctor --conf FILE"})
		}
	}
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

// wrong is what is wrong with a member as the node sees it, and what to do; empty: nothing.
func wrong(node string, m admin.MemberRow) (what, do string) {
	switch {
	case m.State == "gone":
		return m.Name + " is gone", "start it, if it is to be there"
	case m.State != "alive":
		return m.Name + " is " + m.State + ": it does not answer " + node, "look at that machine and the network between"
	case m.Draining:
		return m.Name + " drains: it stops, or an operator asked for it", "nodeserver undrain " + m.Name + ", if it is to have users"
	case !m.Ready:
		return m.Name + " is not ready", "its /readyz says what it waits for"
	case !m.Self && !m.InSync:
		return node + " lacks sessions of " + m.Name + " yet", "wait; if it stays so, see nodeserver_replication_in_sync and the log"
	}
	return "", ""
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
