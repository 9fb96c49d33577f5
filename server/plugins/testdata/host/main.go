// Command host builds webapps and loads them, as a node would, in a binary that
// go build made: test binaries carry no module versions. For each it prints the app's name
// and its answer to GET /. An argument FILE.so is loaded only.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	_ "golang.org/x/net/trace" // a package that can't be twice in a process
	_ "golang.org/x/sys/unix"  // a module that apps have in other versions

	"github.com/nodeserver/nodeserver/server/plugins"
)

func main() {
	other := flag.String("host", "", "build for this binary, and load nothing")
	flag.Parse()
	l := plugins.NewLoader()
	for _, dir := range flag.Args()[1:] {
		if err := serve(l, dir, flag.Arg(0), *other); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
}

func serve(l *plugins.Loader, dir, out, other string) error {
	file := dir
	if filepath.Ext(dir) != ".so" {
		b, err := plugins.Build(context.Background(), plugins.BuildOptions{Dir: dir, Out: out + "/", Host: other})
		if err != nil || other != "" {
			return err
		}
		file = b.File
	}
	p, err := l.Open(file)
	if err != nil {
		return err
	}
	h, err := p.App.New(nil) // the tests' apps have no use for it
	if err != nil {
		return err
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Printf("%s: %s\n", p.App.Name, w.Body)
	return nil
}
