package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/server/console"
)

func newConsoleCommand(e env) *cobra.Command {
	var to node
	var open bool
	c := &cobra.Command{
		Use:   "console [--conf FILE | --admin ADDR] [--open]",
		Short: "Print a link that logs a browser in to the console of a running node",
		Long: `Print a link to the console of a running node. It logs a browser in, once, within 10
minutes, as the sender of the token: whoever has started the node needs to name none.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			body, err := to.do(c.Context(), e, http.MethodPost, "/api/v1/console")
			if err != nil {
				return err
			}
			var reply console.LinkReply
			if err := json.Unmarshal(body, &reply); err != nil || reply.Schema != "nodeserver.console/1" {
				return fmt.Errorf("what answers at %s is no nodeserver of this version: %.60q", to.admin, body)
			}
			link := to.base + reply.Path
			if open {
				return openInBrowser(c, link)
			}
			_, err = fmt.Fprintln(e.stdout, link)
			return err
		},
	}
	to.flags(c)
	c.Flags().BoolVar(&open, "open", false, "open it in the browser of this machine")
	return c
}

// openInBrowser has the system open a link.
func openInBrowser(c *cobra.Command, link string) error {
	name := "xdg-open"
	if runtime.GOOS == "darwin" {
		name = "open"
	}
	if err := exec.CommandContext(c.Context(), name, link).Run(); err != nil {
		return fmt.Errorf("open a browser: %s: %w; without --open the link is printed", name, err)
	}
	return nil
}

// showLink prints the link of a node that starts, if a person looks: no log may have it.
func (e env) showLink(link string) {
	if f, ok := e.stderr.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			put(e.stderr, "console, for one browser, within 10 minutes: %s\n", link)
		}
	}
}
