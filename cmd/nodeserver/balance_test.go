package main

import (
	"testing"

	"github.com/nodeserver/nodeserver/conf"
)

// A conf that says nothing of what is to be run is likely to be another one.
func TestConfOfSomethingElse(t *testing.T) {
	for _, tc := range []struct {
		sets       []string
		node, door bool
	}{
		{nil, false, false},
		{[]string{"node.name=n1", "cluster.name=x"}, true, false},
		{[]string{"balance.address=127.0.0.1:8080", "cluster.name=x"}, false, true},
	} {
		_, origins, err := conf.Load("", tc.sets, nil)
		if err != nil {
			t.Fatal(err)
		}
		if node, door := setsIn(origins, "node", "webapps"), setsIn(origins, "balance"); node != tc.node || door != tc.door {
			t.Errorf("%q: of a node %v, of a balancer %v", tc.sets, node, door)
		}
	}
}

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
