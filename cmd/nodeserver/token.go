package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/server/keys"
	"github.com/nodeserver/nodeserver/server/operators"
)

func newTokenCommand(e env) *cobra.Command {
	c := &cobra.Command{Use: "token", Short: "Make tokens for operators"}
	c.AddCommand(newTokenNewCommand(e))
	return c
}

func newTokenNewCommand(e env) *cobra.Command {
	var role, list, out string
	c := &cobra.Command{
		Use:   "new NAME --role viewer|operator [--file TOKENS_FILE] [-o FILE]",
		Short: "Make a token for an operator",
		Long: `Make a token, and print it: it is shown this once, and goes to who is to use it,
with --token-file or as Authorization: Bearer. The name says in the audit log who
that is. The role viewer may look, operator may change things, too. The line for the
tokens file ([admin] tokens_file), which holds the token's SHA-256 only, is added to
--file, or printed on standard error.`,
		Example: "  nodeserver token new anna --role operator --file conf/tokens -o anna.token",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := operators.ParseRole(role)
			if err != nil {
				return usagef("--role: %w", err)
			}
			token := keys.New()
			line, err := operators.Line(r, args[0], token)
			if err != nil {
				return usageError{err}
			}
			if out != "" {
				if err := writeNew(out, token+"\n", 0o600); err != nil {
					return err
				}
			}
			if list != "" {
				if err := appendLine(list, line); err != nil {
					return err
				}
			} else {
				put(e.stderr, "for [admin] tokens_file: %s\n", line)
			}
			if out != "" {
				return nil
			}
			_, err = fmt.Fprintln(e.stdout, token)
			return err
		},
	}
	c.Flags().StringVar(&role, "role", "", "what the token is good for: viewer or operator")
	c.Flags().StringVar(&list, "file", "", "tokens `FILE` to add the line to; made if it is not there")
	c.Flags().StringVarP(&out, "out", "o", "", "write the token to this new `FILE`, which only its owner can read, instead of printing it")
	must(c.MarkFlagRequired("role"))
	return c
}

// appendLine adds a line to a file, after the end of the last one.
func appendLine(file, line string) (err error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if last := make([]byte, 1); info.Size() > 0 {
		if _, err := f.ReadAt(last, info.Size()-1); err != nil {
			return err
		}
		if last[0] != '\n' {
			line = "\n" + line
		}
	}
	_, err = f.WriteString(line + "\n")
	return err
}
