package webappstest_test

import (
	"testing"

	"github.com/nodeserver/nodeserver/webapps"
	"github.com/nodeserver/nodeserver/webapps/webappstest"
	"github.com/nodeserver/nodeserver/webapps/webappstest/contract"
)

// The test kit does what a node does.
func TestContract(t *testing.T) {
	contract.Run(t, func(tb testing.TB, app webapps.App) func() *webappstest.Client {
		tb.Helper()
		return webappstest.New(tb, app).Another
	})
}
