package cluster

import (
	"testing"

	"github.com/nodeserver/nodeserver/server/config"
)

// A node may serve users on the network without a secret; that a balancer will
// not send any there is said.
func TestAddressThatNoFrontDoorBelieves(t *testing.T) {
	for _, tc := range []struct {
		http, secret string
		insecure     bool
		unused       bool
	}{
		{http: "127.0.0.1:8081"},
		{http: "localhost:8081"},
		{http: "[::1]:8081"},
		{http: "0.0.0.0:8081"}, // told as the channel's host
		{http: ":8081"},
		{http: "10.0.0.5:8081", unused: true},
		{http: "10.0.0.5:8081", secret: "file"},
		{http: "10.0.0.5:8081", insecure: true},
	} {
		c := config.Config{HTTP: config.HTTP{Address: tc.http}, Cluster: config.Cluster{SecretFile: tc.secret}}
		c.Channel = config.Channel{Address: "127.0.0.1:4001", Insecure: tc.insecure}
		if got := Unused(c); (got != "") != tc.unused {
			t.Errorf("%+v: %q", tc, got)
		}
		if len(Unproven(c)) != 0 {
			t.Errorf("%+v: refused: %v", tc, Unproven(c))
		}
	}
}
