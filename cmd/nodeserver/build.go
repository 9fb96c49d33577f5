package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/server/plugins"
)

func newBuildCommand(e env) *cobra.Command {
	var o plugins.BuildOptions
	c := &cobra.Command{
		Use:   "build DIR [-o FILE.so]",
		Short: "Build the webapp in DIR as a plugin for this nodeserver",
		Long: `Build the webapp in DIR, a Go package with func Webapp() webapps.App, as a
plugin that this very nodeserver can load, or the one that --host names: with its
toolchain and its build settings. The plugin has its own libraries, in the versions of
its go.mod. It needs the go command and gcc.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			start := time.Now()
			o.Dir = args[0]
			b, err := plugins.Build(c.Context(), o)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(e.stdout, "%s  %.1f MB  revision %s  in %.1f s\n",
				b.File, float64(b.Bytes)/1e6, b.Revision, time.Since(start).Seconds())
			for _, s := range b.Shared {
				if err == nil {
					_, err = fmt.Fprintf(e.stdout, "  shares %s with the node and other plugins, in one version: %s\n", s.Package, s.Why)
				}
			}
			return err
		},
	}
	c.Flags().StringVarP(&o.Out, "out", "o", "", "the plugin's `FILE`, or the folder for NAME.so (default: here)")
	c.Flags().StringVar(&o.Host, "host", "", "the nodeserver `BINARY` to build for, also one of another machine (default: this one)")
	c.Flags().StringVar(
		&o.HostSrc, "host-src", "",
		"folder of the sources the nodeserver was built from (default: found around DIR, here or the binary)",
	)
	return c
}
