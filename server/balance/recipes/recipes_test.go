package recipes_test

import (
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/server/balance/recipes"
)

func cluster() recipes.Cluster {
	return recipes.Cluster{
		Name:   "shop",
		Cookie: "NSESSIONID",
		Listen: ":8080",
		Nodes: []recipes.Node{
			{Name: "n1", Address: "10.0.0.1:8081"},
			{Name: "n2", Address: "10.0.0.2:8081"},
			{Name: "n3", Address: "10.0.0.3:8081"},
		},
	}
}

// That the programs take the files, and what users of them see, is shown with the real ones
// (package e2e).
func TestWrite(t *testing.T) {
	t.Parallel()
	for _, program := range recipes.Programs() {
		for _, cert := range []string{"", "/etc/ssl/shop.pem"} {
			c := cluster()
			c.Cert = cert
			var b strings.Builder
			if err := recipes.Write(&b, program, c); err != nil {
				t.Fatal(err)
			}
			text := b.String()
			for _, want := range []string{`"shop"`, "10.0.0.1:8081", "10.0.0.2:8081", "10.0.0.3:8081", "NSESSIONID", "8080", cert} {
				if !strings.Contains(text, want) {
					t.Errorf("%s: no %s in\n%s", program, want, text)
				}
			}
			if strings.Contains(text, "<no value>") {
				t.Errorf("%s:\n%s", program, text)
			}
		}
	}
}

func speakTLS(c *recipes.Cluster) {
	for i := range c.Nodes {
		c.Nodes[i].TLS = true
	}
}

func TestWrongClusters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		program string
		change  func(*recipes.Cluster)
		want    string
	}{
		{"pound", func(*recipes.Cluster) {}, `"pound" is none of apache, caddy, haproxy, nginx`},
		{"nginx", func(c *recipes.Cluster) { c.Nodes = nil }, `cluster "shop" has no node that users can be sent to`},
		{
			"nginx", func(c *recipes.Cluster) { c.Listen = "8080" },
			`listen at "8080": write it as host:port or :port: address 8080: missing port in address`,
		},
		{
			"haproxy", func(c *recipes.Cluster) { c.Nodes[1].TLS = true },
			`of n1 and n2 only one speaks TLS ([http] tls_cert): have both do so, or none`,
		},
		{"caddy", speakTLS, `the nodes speak TLS: name the CA of their certificates (--nodes-ca)`},
		{
			"nginx", func(c *recipes.Cluster) { speakTLS(c); c.NodesCA = "ca.pem" },
			`the nodes speak TLS, and nginx checks one name for all of them: name it (--nodes-name)`,
		},
	} {
		k := cluster()
		c.change(&k)
		if err := recipes.Write(&strings.Builder{}, c.program, k); err == nil || err.Error() != c.want {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}
