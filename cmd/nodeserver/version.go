package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// wire is the version of the protocol between members that this binary speaks;
// a test keeps it equal to the channel's.
const wire = 1

// version is what there is to say about the binary.
type version struct {
	Schema   string `json:"schema"` // nodeserver.version/1
	Version  string `json:"version"`
	Revision string `json:"revision"` // of the sources; empty if unknown
	Modified bool   `json:"modified"` // the sources differed from the revision
	Go       string `json:"go"`
	Platform string `json:"platform"`
	CGO      bool   `json:"cgo"` // without it no plugins can be loaded
	Wire     int    `json:"wire"`
}

func newVersionCommand(e env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Say which nodeserver this is",
		Args:  cobra.NoArgs,
		RunE: func(_ *cobra.Command, _ []string) error {
			v := readVersion()
			if asJSON {
				return printJSON(e.stdout, v)
			}
			_, err := fmt.Fprintln(e.stdout, v)
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// readVersion reads what the linker wrote into the binary.
func readVersion() version {
	v := version{
		Schema: "nodeserver.version/1", Version: "(devel)",
		Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Wire: wire,
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		case "CGO_ENABLED":
			v.CGO = s.Value == "1"
		}
	}
	return v
}

// String is the version on three lines.
func (v version) String() string {
	revision, cgo := v.Revision, "no (can't load plugins)"
	if revision == "" {
		revision = "unknown"
	}
	if v.Modified {
		revision += " (modified)"
	}
	if v.CGO {
		cgo = "yes"
	}
	return fmt.Sprintf("nodeserver %s, revision %s\n%s %s, cgo: %s\nwire version %d", v.Version, revision, v.Go, v.Platform, cgo, v.Wire)
}
