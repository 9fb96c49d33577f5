// Command host builds webapps and loads them, as a node would, in a binary that
// go build made: test binaries carry no module versions. For each it prints the app's name
// and its answer to GET /.
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"

	_ "golang.org/x/sys/unix" // a module that apps have in other versions

	"github.com/nodeserver/nodeserver/server/plugins"
)

func main() {
	l := plugins.NewLoader()
	for _, dir := range os.Args[2:] {
		if err := serve(l, dir, os.Args[1]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
}

func serve(l *plugins.Loader, dir, out string) error {
	b, err := plugins.Build(context.Background(), plugins.BuildOptions{Dir: dir, Out: out + "/"})
	if err != nil {
		return err
	}
	p, err := l.Open(b.File)
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
