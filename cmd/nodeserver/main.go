package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/conf"
)

// Exit codes.
const (
	exitGood  = 0
	exitNot   = 1
	exitUsage = 2
	exitPart  = 3
)

// env is what a command may use of the process it runs in.
type env struct {
	stdout, stderr io.Writer
	environ        []string // as os.Environ gives it
}

// getenv is os.Getenv of that.
func (e env) getenv(key string) string {
	for _, v := range slices.Backward(e.environ) {
		if name, value, _ := strings.Cut(v, "="); name == key {
			return value
		}
	}
	return ""
}

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run runs one command line and returns the exit code.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	root := newRootCommand(env{stdout: stdout, stderr: stderr, environ: environ})
	root.SetArgs(args)
	return untilSignal(ctx, stderr, func(ctx context.Context) int {
		c, err := root.ExecuteContextC(ctx)
		return report(c, err, stderr)
	})
}

// usageError is an error of the command line itself.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// usagef makes a usageError.
func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// errSilent ends a command with exit code 1 when all is said already.
var errSilent = errors.New("said already")

// partError says what could not be done, where the rest was.
type partError struct{ error }

func (e partError) Unwrap() error { return e.error }

// partf makes a partError.
func partf(format string, args ...any) error { return partError{fmt.Errorf(format, args...)} }

// report says what went wrong, if anything, and returns the exit code.
func report(c *cobra.Command, err error, stderr io.Writer) int {
	var wrong *conf.Error
	if code, ok := errors.AsType[exitError](err); ok {
		return int(code)
	}
	switch {
	case err == nil:
		return exitGood
	case errors.Is(err, errSilent):
	case errors.As(err, &wrong):
		put(stderr, "%s\n", wrong)
	default:
		for line := range strings.Lines(err.Error()) {
			put(stderr, "nodeserver: %s\n", strings.TrimSuffix(line, "\n"))
		}
	}
	if _, ok := errors.AsType[usageError](err); ok {
		put(stderr, "Usage: %s (more: %s --help)\n", strings.TrimSuffix(c.UseLine(), " [flags]"), c.CommandPath())
		return exitUsage
	}
	if _, ok := errors.AsType[partError](err); ok {
		return exitPart
	}
	return exitNot
}

// put writes where nobody is left to hear of a failure.
func put(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...)
}

// newRootCommand is nodeserver with all its verbs.
func newRootCommand(e env) *cobra.Command {
	root := &cobra.Command{
		Use:   "nodeserver",
		Short: "An application server whose web sessions outlive their server",
		Long: `nodeserver runs webapps and keeps their sessions on every node of a cluster,
so that users don't notice when a node dies.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	root.AddCommand(commands(e)...)
	asUsage(root)
	return root
}

// asUsage turns what cobra finds wrong on a command line, here and below, into
// usage errors, and makes a command that only groups others ask for one of them.
func asUsage(c *cobra.Command) {
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	check := c.Args
	if !c.Runnable() {
		c.RunE = func(*cobra.Command, []string) error { return nil } // never gets there
		check = func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("there is no %q here, only: %s", args[0], strings.Join(verbs(c), ", "))
			}
			return fmt.Errorf("say what to do, one of: %s", strings.Join(verbs(c), ", "))
		}
	}
	c.Args = func(c *cobra.Command, args []string) error {
		err := check(c, args)
		if err == nil {
			err = c.ValidateRequiredFlags()
		}
		if err != nil {
			return usageError{err}
		}
		return nil
	}
	for _, sub := range c.Commands() {
		asUsage(sub)
	}
}

// verbs are the names of the commands below.
func verbs(c *cobra.Command) []string {
	var list []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			list = append(list, sub.Name())
		}
	}
	return list
}
