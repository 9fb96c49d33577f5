package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
)

func newInitCommand(e env) *cobra.Command {
	var nodes int
	c := &cobra.Command{
		Use:   "init DIR [--nodes N]",
		Short: "Write the configuration of a cluster on this machine",
		Long: `Write n1.toml … nN.toml, balance.toml and a secret into DIR, with ports that are
free now. What is there is never overwritten.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if nodes < 1 || nodes > 32 {
				return usagef("--nodes %d: a cluster on one machine has 1 to 32", nodes)
			}
			files, err := initCluster(args[0], nodes)
			if err != nil {
				return err
			}
			_, err = io.WriteString(e.stdout, whatNext(args[0], files))
			return err
		},
	}
	c.Flags().IntVar(&nodes, "nodes", 3, "how many")
	return c
}

// whatNext tells what was written and how to go on.
func whatNext(dir string, files []string) string {
	var text strings.Builder
	put(&text, "wrote %s\n\nPut webapps (NAME.so) into %s, then start each in a terminal of its own:\n\n",
		strings.Join(files, ", "), filepath.Join(dir, "webapps"))
	for _, file := range files {
		switch filepath.Base(file) {
		case "secret":
		case "balance.toml":
			put(&text, "  nodeserver balance --conf %s\n", file)
		default:
			put(&text, "  nodeserver run --conf %s\n", file)
		}
	}
	return text.String()
}

// initCluster writes the files and tells their names.
func initCluster(dir string, nodes int) (files []string, err error) {
	texts, err := clusterFiles(nodes)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "webapps"), 0o755); err != nil {
		return nil, err
	}
	for _, f := range texts { // before anything is written
		if _, err := os.Lstat(filepath.Join(dir, f.name)); !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s is there already: choose an empty folder", filepath.Join(dir, f.name))
		}
	}
	secret := filepath.Join(dir, "secret")
	if err := newSecret(secret); err != nil {
		return nil, err
	}
	files = append(files, secret)
	for _, f := range texts {
		file := filepath.Join(dir, f.name)
		if err := writeNew(file, f.text, 0o644); err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

// cluster is what the templates fill in.
type cluster struct {
	Name                 string   // of the node
	HTTP, Admin, Channel string   // its addresses
	Door                 string   // the balancer's
	Channels             []string // of all nodes
}

var (
	nodeFile = template.Must(template.New("node").Parse(`[node]
name = "{{.Name}}"

[http]
address = "{{.HTTP}}"
expose_node = true # each answer says which node it is from

[admin]
address = "{{.Admin}}"

[channel]
address = "{{.Channel}}"

[webapps]
dir = "webapps"
` + sharedPart))

	doorFile = template.Must(template.New("door").Parse(`# the balancer: users come here
[balance]
address = "{{.Door}}"
` + sharedPart))
)

const sharedPart = `
[cluster]
secret_file = "secret" # the same on each node

[membership]
providers = ["mdns", "static"]
interface = "lo"
static = [{{range $i, $c := .Channels}}{{if $i}}, {{end}}"{{$c}}"{{end}}]
`

type textFile struct{ name, text string }

// clusterFiles are the configurations of the nodes and the balancer.
func clusterFiles(nodes int) ([]textFile, error) {
	var ports [4][]string // for visitors, users, operators, members
	for i, from := range []int{8080, 8081, 9081, 4001} {
		n := nodes
		if i == 0 {
			n = 1
		}
		var err error
		if ports[i], err = freePorts(from, n, ports[0]); err != nil {
			return nil, err
		}
	}
	c := cluster{Door: ports[0][0], Channels: ports[3]}
	files := []textFile{{"balance.toml", fill(doorFile, c)}}
	for i := range nodes {
		c.Name = "n" + strconv.Itoa(i+1)
		c.HTTP, c.Admin, c.Channel = ports[1][i], ports[2][i], ports[3][i]
		files = append(files, textFile{c.Name + ".toml", fill(nodeFile, c)})
	}
	return files, nil
}

func fill(t *template.Template, c cluster) string {
	var text strings.Builder
	must(t.Execute(&text, c))
	return text.String()
}

// freePorts finds loopback addresses nobody listens on, from the given port up.
func freePorts(from, n int, taken []string) ([]string, error) {
	var list []string
	for port := from; len(list) < n && port < from+900; port++ {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if slices.Contains(taken, address) {
			continue
		}
		if l, err := net.Listen("tcp", address); err == nil { //nolint:noctx // ends at once
			_ = l.Close() // nobody connected
			list = append(list, address)
		}
	}
	if len(list) < n {
		return nil, fmt.Errorf("find %d free ports: only %d from %d to %d", n, len(list), from, from+899)
	}
	return list, nil
}
