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
	Nodes  []Node // at least one
}

// Node is one server of a file.
type Node struct {
	Name    string // route in session cookies
	Address string // host:port of its HTTP listener
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
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen at %q: write it as host:port or :port: %w", c.Listen, err)
	}
	t := template.Must(template.New("").Funcs(template.FuncMap{"others": others}).ParseFS(files, "*.tmpl"))
	data := struct {
		Cluster
		Host, Port, Ready string
	}{c, host, port, headers.ReadyPath}
	return t.ExecuteTemplate(w, program+".tmpl", data)
}

// others are the nodes but one, beginning after it: so its users spread, when it is gone.
func others(list []Node, but Node) []Node {
	i := slices.Index(list, but)
	return slices.Concat(list[i+1:], list[:i])
}
