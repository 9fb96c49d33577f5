// Command host builds a webapp and loads it, as a node would, in a binary that
// go build made: test binaries carry no module versions.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/nodeserver/nodeserver/server/plugins"
)

func main() {
	b, err := plugins.Build(context.Background(), plugins.BuildOptions{Dir: os.Args[1], Out: os.Args[2]})
	if err == nil {
		var p plugins.Plugin
		p, err = plugins.NewLoader().Open(b.File)
		fmt.Println(p.App.Name, p.App.Version)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
