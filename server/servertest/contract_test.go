package servertest_test

import (
	"testing"

	"github.com/nodeserver/nodeserver/server/servertest"
	"github.com/nodeserver/nodeserver/webapps"
	"github.com/nodeserver/nodeserver/webapps/webappstest/contract"
)

// A node does what the test kit does.
func TestContract(t *testing.T) {
	contract.Run(t, func(tb testing.TB, app webapps.App) func() *servertest.Visitor {
		tb.Helper()
		return servertest.Start(tb, 1, app).Visitor
	})
}
