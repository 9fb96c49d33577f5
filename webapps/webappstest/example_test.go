package webappstest_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/nodeserver/nodeserver/webapps"
	"github.com/nodeserver/nodeserver/webapps/webappstest"
)

// greeter is the app that the example tests.
func greeter() webapps.App {
	return webapps.App{Name: "greeter", New: func(webapps.Context) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			var n int
			_ = s.Update("visits", &n, func() error { n++; return nil })
			fmt.Fprintf(w, "visit %d", n)
		}), nil
	}}
}

// In a test function, t is its *testing.T.
func Example() {
	t := new(printer) // stands for it here

	u := webappstest.New(t, greeter())
	u.Get("/")
	fmt.Println(u.Get("/").Body)
	fmt.Println(u.Another().Get("/").Body)

	n, _, _ := webapps.Get[int](u.Session(), "visits") // what the session holds
	fmt.Println(n)
	// Output:
	// visit 2
	// visit 1
	// 2
}

// printer is a testing.TB for an example, which has none.
type printer struct{ testing.TB }

func (printer) Helper()                  {}
func (printer) Cleanup(func())           {}
func (printer) Context() context.Context { return context.Background() }
