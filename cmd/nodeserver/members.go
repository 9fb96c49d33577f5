package main

import (
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/server/admin"
)

func newMembersCommand(e env) *cobra.Command {
	var to node
	var asJSON bool
	c := &cobra.Command{
		Use:   "members [--conf FILE | --admin ADDR]",
		Short: "Print the members that a running node sees",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			reply, body, err := to.members(c.Context(), e)
			if err != nil || asJSON {
				return printed(e, body, err)
			}
			return printMembers(e.stdout, reply)
		},
	}
	to.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// printMembers prints the table; a star marks the node that was asked.
func printMembers(w io.Writer, reply admin.MembersReply) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	put(t, "NAME\tSTATE\tREADY\tCHANNEL\tHTTP\tAPPS\tSESSIONS\tQUEUE\n") // what fails comes out of Flush
	for _, m := range reply.Members {
		name, ready := m.Name, "no"
		if m.Self {
			name += "*"
		}
		switch {
		case m.Draining:
			ready = "draining"
		case m.Ready:
			ready = "yes"
		}
		if m.Domain != "" {
			name += " (" + m.Domain + ")"
		}
		put(
			t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\n", name, m.State, ready, m.ChannelAddress, m.HTTPAddress,
			or(strings.Join(m.Apps, ",")), m.Sessions, m.Queue,
		)
	}
	for _, d := range reply.Down {
		put(t, "\napp not served: %s: %s\n", d.Name, indented(d.Reason))
	}
	for _, p := range reply.Providers {
		if p.Problem != "" {
			put(t, "\nmembers can't be found by %s: %s\n", p.Name, p.Problem)
		}
	}
	if reply.Waiting != "" {
		put(t, "\nnot ready yet: %s\n", reply.Waiting)
	}
	return t.Flush()
}

// or is the text, or a dash where there is none.
func or(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func indented(text string) string { return strings.ReplaceAll(text, "\n", "\n  ") }
