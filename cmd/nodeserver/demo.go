package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/cmd/nodeserver/internal/demo"
)

func newDemoCommand(e env) *cobra.Command {
	var nodes, seconds int
	var asJSON, console bool
	c := &cobra.Command{
		Use:   "demo [--nodes 3] [--seconds 9] [--json] [--console]",
		Short: "Start a cluster, kill the node that serves most, and check that nobody noticed",
		Long: `Start real node processes and a balancer on free ports of this machine, let
visitors fill carts, log in and out in the sample webapp cart, end the node that
serves most of them with SIGKILL, start it again, and check every answer. The
last line is PASS or FAIL, and so is the exit code (0 or 1). With --console, visitors
come until Ctrl-C, and you kill nodes by a button in the console. Needs
bin/webapps/cart.so beside the binary: make webapps.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o := demo.Options{Nodes: nodes, Drive: time.Duration(seconds) * time.Second, Console: console}
			if err := o.Check(); err != nil {
				return usageError{err}
			}
			var err error
			if o.Exe, err = ownBinary(); err != nil {
				return err
			}
			if !asJSON {
				o.Out = e.stdout
			}
			result := demo.Run(c.Context(), o)
			if console && result.Pass {
				return nil
			}
			return tellResult(e.stdout, result, asJSON)
		},
	}
	c.Flags().IntVar(&nodes, "nodes", 3, "how many nodes, 2 to 9")
	c.Flags().IntVar(&seconds, "seconds", 9, "how long visitors come")
	c.Flags().BoolVar(&console, "console", false, "go on until Ctrl-C, and print links to the console")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object instead of the time line")
	return c
}

// ownBinary is the file this process runs, where its plugins lie beside it.
func ownBinary() (string, error) {
	exe, err := os.Executable()
	if err == nil {
		exe, err = filepath.EvalSymlinks(exe)
	}
	if err != nil {
		return "", fmt.Errorf("find the binary that runs: %w", err)
	}
	return exe, nil
}

func tellResult(w io.Writer, r demo.Result, asJSON bool) error {
	var err error
	if asJSON {
		err = printJSON(w, r)
	} else {
		_, err = fmt.Fprintln(w, r.Line())
	}
	if err == nil && !r.Pass {
		return errSilent
	}
	return err
}
