package servertest_test

import (
	"fmt"
	"io"
	"net/url"
	"testing"

	"github.com/nodeserver/nodeserver/server/servertest"
	"github.com/nodeserver/nodeserver/webapps/cart"
)

// In a test function, t is its *testing.T.
func Example() {
	t := new(example) // stands for it here
	defer t.end()

	c := servertest.Start(t, 3, cart.Webapp())
	u := c.Visitor()
	u.PostForm("/add", url.Values{"sku": {"tea"}})
	u.PostForm("/login", url.Values{"user": {"ann"}})
	fmt.Print(u.Get("/?format=text").Body)

	c.Kill(0)
	u.PostForm("/add", url.Values{"sku": {"cup"}})
	fmt.Print(u.Get("/?format=text").Body)

	c.Revive(0)
	fmt.Print(u.At(0).Get("/?format=text").Body)
	// Output:
	// 1 6.50 ann n1
	// 2 20.50 ann n2
	// 2 20.50 ann n1
}

// example is a testing.TB for an example, which has none.
type example struct {
	testing.TB
	cleanup []func()
}

func (e *example) Output() io.Writer              { return io.Discard }
func (e *example) Helper()                        {}
func (e *example) Cleanup(f func())               { e.cleanup = append(e.cleanup, f) }
func (e *example) Errorf(format string, a ...any) { fmt.Printf(format+"\n", a...) }
func (e *example) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

func (e *example) end() {
	for _, f := range e.cleanup {
		f()
	}
}
