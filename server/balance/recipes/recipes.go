// Package recipes writes the files with which HAProxy, nginx, Apache and Caddy are front
// doors of a cluster: sticky by the route at the end of the session cookie, with probes of
// headers.ReadyPath where the program can send some, and with repeats only of requests that
// no node can have carried out, or that may be carried out twice.
//
// Each file is complete: the program takes it as its only one. Comments in it say what an
// operator may choose.
package recipes

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"text/template"

	"github.com/nodeserver/nodeserver/server/internal/headers"
)

// Cluster is what a file is written for.
type Cluster struct {
	Name   string
	Cookie string // name of the session cookie
	Listen string // host:port for users
	Cert   string // PEM file of certificate and key for TLS to users; empty: none

	NodesCA   string // PEM file of the CA of nodes that speak TLS
	NodesName string // in their certificates; empty: only the CA is checked, or the address

	Nodes []Node // at least one
}

// Node is one server of a file.
type Node struct {
	Name    string // route in session cookies
	Address string // host:port of its HTTP listener
	TLS     bool   // it speaks TLS there; of all nodes, or of none
}

//go:embed *.tmpl
var files embed.FS

// Programs are the names that Write knows.
func Programs() []string { return []string{"apache", "caddy", "haproxy", "nginx"} }

// Write writes the file of a program. The error names what is wrong with the cluster.
func Write(w io.Writer, program string, c Cluster) error {
	if !slices.Contains(Programs(), program) {
		return fmt.Errorf("%q is none of %s", program, strings.Join(Programs(), ", "))
	}
	if len(c.Nodes) == 0 {
		return fmt.Errorf("cluster %q has no node that users can be sent to", c.Name)
	}
	if err := checkTLS(program, c); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen at %q: write it as host:port or :port: %w", c.Listen, err)
	}
	t := template.Must(template.New("").Funcs(template.FuncMap{"others": others}).ParseFS(files, "*.tmpl"))
	data := struct {
		Cluster
		Host, Port, Ready, Scheme string
		TLS                       bool
	}{c, host, port, headers.ReadyPath, "http", c.Nodes[0].TLS}
	if data.TLS {
		data.Scheme = "https"
	}
	return t.ExecuteTemplate(w, program+".tmpl", data)
}

// checkTLS: what answers at a node's address must be able to prove that it is one.
func checkTLS(program string, c Cluster) error {
	for _, n := range c.Nodes {
		if n.TLS != c.Nodes[0].TLS {
			return fmt.Errorf("of %s and %s only one speaks TLS ([http] tls_cert): have both do so, or none", c.Nodes[0].Name, n.Name)
		}
	}
	switch {
	case !c.Nodes[0].TLS:
		return nil
	case c.NodesCA == "":
		return errors.New("the nodes speak TLS: name the CA of their certificates (--nodes-ca)")
	case c.NodesName == "" && program == "nginx":
		return errors.New("the nodes speak TLS, and nginx checks one name for all of them: name it (--nodes-name)")
	}
	return nil
}

// others are the nodes but one, beginning after it: so its users spread, when it is gone.
func others(list []Node, but Node) []Node {
	i := slices.Index(list, but)
	return slices.Concat(list[i+1:], list[:i])
}
