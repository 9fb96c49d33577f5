package main

import (
	"testing"

	"github.com/nodeserver/nodeserver/conf"
)

// The default admin address is a node's, which may run on the same machine.
func TestTheDoorsAdminAddressMustBeChosen(t *testing.T) {
	for _, tc := range []struct {
		sets []string
		want bool
	}{
		{nil, false},
		{[]string{"admin.token_file=x"}, false},
		{[]string{"admin.address=127.0.0.1:9080"}, true},
	} {
		_, origins, err := conf.Load("", tc.sets, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := chosen(origins, "admin.address"); got != tc.want {
			t.Errorf("%q: chosen %v, want %v", tc.sets, got, tc.want)
		}
	}
}
