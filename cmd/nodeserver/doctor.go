package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/cmd/nodeserver/internal/doctor"
	"github.com/nodeserver/nodeserver/server/admin"
)

// doctorReply is what doctor --json prints.
type doctorReply struct {
	Schema   string           `json:"schema"` // nodeserver.doctor/1
	Findings []doctor.Finding `json:"findings"`
}

func newDoctorCommand(e env) *cobra.Command {
	var file string
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor [--conf FILE] [FILE.so]",
		Short: "Look for what would keep a node from starting, or a plugin from loading",
		Long: `Look at this machine, and with --conf at what a node with that file needs: its
ports, its secret, its ways to find members, its plugins; where the node runs,
also at the others. With FILE.so, tell whether this nodeserver can load it.

Each line begins with ok, warn or fail. The exit code is 1 if something fails.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o := doctor.Options{Conf: file, Environ: e.environ}
			if len(args) == 1 {
				o.Plugin = args[0]
			}
			o.Members = func(ctx context.Context) (reply admin.MembersReply, err error) {
				reply, _, err = (&node{file: file}).members(ctx, e)
				return reply, err
			}
			return tellFindings(e.stdout, doctor.Run(c.Context(), o), asJSON)
		},
	}
	c.Flags().StringVarP(&file, "conf", "c", "", "configuration `FILE` of the node")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func tellFindings(w io.Writer, findings []doctor.Finding, asJSON bool) error {
	var text strings.Builder
	failed := false
	for _, f := range findings {
		fmt.Fprintf(&text, "%-4s  %s: %s\n", f.Level, f.What, strings.ReplaceAll(f.Text, "\n", "\n      "))
		failed = failed || f.Level == doctor.Fail
	}
	var err error
	if asJSON {
		err = printJSON(w, doctorReply{"nodeserver.doctor/1", findings})
	} else {
		_, err = io.WriteString(w, text.String())
	}
	if err == nil && failed {
		err = errSilent
	}
	return err
}
