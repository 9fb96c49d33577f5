package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/server/plugins"
)

func newNewCommand(e env) *cobra.Command {
	var o plugins.NewOptions
	c := &cobra.Command{
		Use:   "new NAME [DIR]",
		Short: "Begin a webapp: a module with a handler, its test and a README",
		Long: `Write a Go module with a webapp into DIR (default: NAME), and say how to test,
build and serve it. The templates:

  page  a page of HTML with a form, kept in the session
  api   JSON over HTTP

It needs the go command.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			o.Name = args[0]
			if o.Dir = o.Name; len(args) == 2 {
				o.Dir = args[1]
			}
			files, err := plugins.New(c.Context(), o)
			if err != nil {
				return err
			}
			abs, err := filepath.Abs(o.Dir)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(e.stdout, `wrote %s: %s

Test it, build it, and give it to your nodes (each serves what lies in its
webapps.dir):

  (cd %[1]s && go test ./...)
  nodeserver build %[1]s -o %[1]s/%[3]s.so
  cp %[1]s/%[3]s.so WEBAPPS_DIR
`, o.Dir, strings.Join(files, ", "), filepath.Base(abs))
			return err
		},
	}
	c.Flags().StringVarP(&o.Template, "template", "t", plugins.Templates()[0], "`KIND` of webapp: "+strings.Join(plugins.Templates(), ", "))
	c.Flags().StringVar(
		&o.HostSrc, "host-src", "",
		"folder of the sources this nodeserver was built from (default: found around DIR, here or the binary)",
	)
	return c
}
