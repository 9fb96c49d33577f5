package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/server/keys"
)

func newSecretCommand(e env) *cobra.Command {
	c := &cobra.Command{Use: "secret", Short: "Make secrets and tokens, and change a cluster's secret"}
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
	c.AddCommand(
		&cobra.Command{
			Use:   "rotate FILE",
			Short: "Put a new secret into a cluster's secret file; the one of before is still good",
			Long: `Put a new secret into the file of a cluster's secret ([cluster] secret_file), and keep
the present one behind it: members that have either are accepted, so the nodes can be
given the new file one after the other, while users are served. A running node and a
running balancer read the file again within a second or two; their log says so. When
all have it: nodeserver secret retire FILE, and copy that file to each, too.`,
			Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error { return rotateSecret(e.stdout, args[0]) },
		},
		&cobra.Command{
			Use:   "retire FILE",
			Short: "Take the secret of before out of a cluster's secret file, after rotate",
			Long: `Take the secret of before out of the file, when all nodes and balancers have the new
one (see: nodeserver secret rotate). Copy the file to each of them. Links that were made
with the old secret are made anew; a node that has only that one is refused.`,
			Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error { return retireSecret(e.stdout, args[0]) },
		},
	)
	return c
}

// rotateSecret puts a new secret before the one in the file.
func rotateSecret(stdout io.Writer, file string) error {
	list, err := keys.ReadSecrets(file)
	if err != nil {
		return err
	}
	if len(list) > 1 {
		return fmt.Errorf("%s has two secrets already: end that change first, with `nodeserver secret retire %s`", file, file)
	}
	text := keys.New()
	fresh, err := keys.Parse(text)
	if err != nil {
		return err
	}
	text += "\n# Good until `nodeserver secret retire`:\n" + list[0].Text() + "\n"
	if err := keys.Replace(file, []byte(text)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, `%s: new secret %s; that of before, %s, is still good
copy the file to each node and balancer, which read it within seconds; when the log of each has said so:
nodeserver secret retire %s
`, file, fresh.ID(), list[0].ID(), file)
	return err
}

// retireSecret leaves only the newest secret in the file.
func retireSecret(stdout io.Writer, file string) error {
	list, err := keys.ReadSecrets(file)
	if err != nil {
		return err
	}
	if len(list) == 1 {
		return fmt.Errorf("%s has one secret, %s: there is none of before to retire", file, list[0].ID())
	}
	if err := keys.Replace(file, []byte(list[0].Text()+"\n")); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s: only the secret %s is good; copy the file to each node and balancer\n", file, list[0].ID())
	return err
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
