package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/server/keys"
)

func newSecretCommand(e env) *cobra.Command {
	c := &cobra.Command{Use: "secret", Short: "Make secrets and tokens"}
	c.AddCommand(&cobra.Command{
		Use:   "new FILE",
		Short: "Make a new secret, or token, that only the owner of the file can read",
		Long: `Write 32 random bytes, as text with a checksum, to a new file that only its owner
can read: a cluster's secret ([cluster] secret_file, the same on each node) or an
admin token ([admin] token_file). No other text is accepted there, since what
people invent can be guessed. A file that is there is never overwritten.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := newSecret(args[0]); err != nil {
				return err
			}
			_, err := fmt.Fprintf(e.stdout, "%s: new, mode 0600; copy it to each node that is to share it\n", args[0])
			return err
		},
	})
	return c
}

// newSecret writes a secret to a new file.
func newSecret(file string) error {
	err := writeNew(file, keys.New()+"\n", 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already: a secret is never overwritten, since nodes may be using it", file)
	}
	return err
}

// writeNew writes a file that must not exist, whole or not at all.
func writeNew(file, text string, mode fs.FileMode) (err error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("write new file: %w", err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write new file %s: %w", file, errors.Join(err, os.Remove(file)))
	}
	return nil
}
