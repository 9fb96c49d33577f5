package balance

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/nodeserver/nodeserver/server/config"
)

// Nodes prove themselves by the CA of balance.nodes_ca, else by that of the members.
func TestWhoseNodesAreBelieved(t *testing.T) {
	node := httptest.NewTLSServer(http.NotFoundHandler())
	defer node.Close()
	write := func(name string, cert *x509.Certificate) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	own := write("own.pem", node.Certificate())
	for name, c := range map[string]struct {
		nodes, members string
		believed       bool
	}{
		"the members' CA":         {members: own, believed: true},
		"a given CA":              {nodes: own, believed: true},
		"the system's CAs":        {},
		"a file without any":      {nodes: "compose_test.go", members: own},
		"a file that isn't there": {nodes: own + "x"},
	} {
		var cfg config.Config
		cfg.Balance.NodesCA, cfg.Channel.TLSCA = c.nodes, c.members
		secure, err := nodesTLS(cfg)
		if err == nil {
			secure.ServerName = "example.com"
			var conn net.Conn
			if conn, err = tls.Dial("tcp", node.Listener.Addr().String(), secure); err == nil {
				err = conn.Close()
			}
		}
		if believed := err == nil; believed != c.believed {
			t.Errorf("%s: %v", name, err)
		}
	}
}
