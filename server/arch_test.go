package server_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// arrow says what the packages of one folder may reach. Names of our own
// packages are relative to the module; a name stands for all below it, too.
type arrow struct {
	from string
	// imports are our own packages that from may import directly.
	imports []string
	// far are packages of others that from must not reach by any way.
	far []string
	// stdOnly forbids every package of others by any way.
	stdOnly bool
}

// arrows are part 2 of the design. A package that no arrow starts from
// (e2e, bench) may import what it likes, but nothing here may import it.
var arrows = []arrow{
	{from: "cmd/nodeserver", imports: []string{"conf", "server", "webapps"}},
	{
		from:    "cmd/nodeserver/internal/demo",
		imports: []string{"cmd/nodeserver/internal/child", "server", "membership"}, far: []string{viper},
	},
	{from: "cmd/nodeserver/internal/child", stdOnly: true},
	{from: "cmd/nodeserver/internal/dev", imports: []string{"cmd/nodeserver/internal/child", "server"}, far: []string{viper}},
	{from: "cmd/nodeserver/internal/doctor", imports: []string{"conf", "server", "membership", "channel/listen"}},
	{from: "conf", imports: []string{"server/config", "server/cluster", "server/forward"}},
	{from: "server", imports: []string{"webapps", "deltamanager", "channel", "membership", "proto"}, far: []string{viper}},
	{from: "server/operators", imports: []string{"server/cluster", "server/config", "server/keys"}, far: []string{viper}},
	{
		from: "server/admin",
		imports: []string{
			"server/cluster", "server/config", "server/deploy", "server/events", "server/operators",
			"deltamanager", "channel/listen", "membership", "webapps/codec",
		},
		far: []string{viper},
	},
	{
		from: "server/console", imports: []string{"server/admin", "server/deploy", "server/events", "server/operators"},
		far: []string{viper},
	},
	{from: "server/config", stdOnly: true},
	{from: "server/events", stdOnly: true},
	{
		from:    "server/cluster",
		imports: []string{"server/config", "server/keys", "channel/grpctransport", "channel/listen", "membership"},
		far:     []string{viper},
	},
	{
		from: "server/balance",
		imports: []string{
			"server/cluster",
			"server/config",
			"server/forward",
			"server/keys",
			"server/operators",
			"server/internal",
			"channel/grpctransport",
			"channel/listen",
			"membership",
		},
		far: []string{viper},
	},
	{
		from:    "server/session",
		imports: []string{"webapps", "deltamanager", "server/config", "channel/listen", "server/forward", "server/internal/headers"},
		far:     []string{viper, grpc},
	},
	{
		from:    "server/deploy",
		imports: []string{"server/config", "server/session", "server/plugins", "webapps", "deltamanager", "channel", "membership"},
		far:     []string{viper, grpc},
	},
	{
		from: "server/control", imports: []string{"server/deploy", "server/events", "channel/grpctransport", "membership", "proto/control"},
		far: []string{viper},
	},
	{from: "server/tracing", far: []string{viper}},
	{from: "webapps", stdOnly: true},
	{from: "webapps/codec", far: []string{viper, grpc, "net/http"}}, // not for webapps: for those that store values
	{from: "webapps/webappstest", imports: []string{"webapps"}, far: []string{viper, grpc}},
	{from: "deltamanager", imports: []string{"membership", "proto/session"}, far: []string{viper, grpc, "net/http"}},
	{from: "deltamanager/internal/table", far: []string{viper, grpc, "net/http"}},
	{from: "deltamanager/internal/progress", far: []string{viper, grpc, "net/http"}},
	{from: "deltamanager/internal/token", imports: []string{"deltamanager/internal/table"}, far: []string{viper, grpc, "net/http"}},
	{
		from:    "deltamanager/internal/wire",
		imports: []string{"deltamanager/internal/table", "deltamanager/internal/token"},
		far:     []string{viper, grpc, "net/http"},
	},
	{from: "channel/grpctransport", imports: []string{"channel", "membership", "proto/channel", "proto/membership"}, far: []string{viper}},
	{from: "channel/channeltest", imports: []string{"channel", "membership"}, far: []string{viper, grpc}},
	{from: "channel", imports: []string{"membership"}, far: []string{viper, grpc}},
	{from: "membership", imports: []string{"proto/membership"}, far: []string{viper, grpc}},
	{from: "proto", far: []string{viper}},
}

const (
	viper = "github.com/spf13/viper"
	grpc  = "google.golang.org/grpc"
)

// pkg is what is used of a package as go list tells it.
type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

// graph is what one module reaches: package by import path.
type graph struct {
	module string
	pkgs   map[string]pkg
}

// violations of the arrows, sorted, one line each.
func (g graph) violations(arrows []arrow) []string {
	var out []string
	for path := range g.pkgs {
		name, ours := strings.CutPrefix(path, g.module+"/")
		if !ours {
			continue
		}
		if a, ok := arrowFrom(arrows, name); ok {
			out = append(out, g.direct(a, name)...)
			out = append(out, g.distant(a, name)...)
		}
	}
	slices.Sort(out)
	return out
}

// arrowFrom finds the arrow of the innermost folder around a package.
func arrowFrom(arrows []arrow, name string) (best arrow, ok bool) {
	for _, a := range arrows {
		if within(name, a.from) && (!ok || len(a.from) > len(best.from)) {
			best, ok = a, true
		}
	}
	return best, ok
}

// direct checks imports of our own packages.
func (g graph) direct(a arrow, name string) []string {
	var out []string
	for _, imp := range g.pkgs[g.module+"/"+name].Imports {
		to, ours := strings.CutPrefix(imp, g.module+"/")
		if ours && !within(to, a.from) && !slices.ContainsFunc(a.imports, func(in string) bool { return within(to, in) }) {
			out = append(out, fmt.Sprintf("%s imports %s", name, to))
		}
	}
	return out
}

// distant checks packages of others that are reached, and tells the way.
func (g graph) distant(a arrow, name string) []string {
	var out []string
	for to, way := range g.ways(g.module + "/" + name) {
		bad := slices.ContainsFunc(a.far, func(f string) bool { return within(to, f) })
		if p := g.pkgs[to]; a.stdOnly && !p.Standard && !within(to, g.module) && to != "C" { // cgo's, no package
			bad = true
		}
		if bad {
			out = append(out, fmt.Sprintf("%s reaches %s: %s", name, to, strings.Join(way, " > ")))
		}
	}
	return out
}

// ways are the packages that one reaches, each with a shortest way to it.
func (g graph) ways(from string) map[string][]string {
	ways := map[string][]string{from: {from}}
	for next := []string{from}; len(next) > 0; next = next[1:] {
		for _, imp := range g.pkgs[next[0]].Imports {
			if ways[imp] == nil {
				ways[imp] = append(slices.Clone(ways[next[0]]), imp)
				next = append(next, imp)
			}
		}
	}
	return ways
}

// within says that a path is another one or lies below it.
func within(path, of string) bool {
	return path == of || strings.HasPrefix(path, of+"/")
}

// load asks the go command for everything the module reaches, tests excluded.
func load(t *testing.T) graph {
	t.Helper()
	g := graph{pkgs: map[string]pkg{}}
	dec := json.NewDecoder(bytes.NewReader(command(t, "go", "list", "-deps", "-json=ImportPath,Standard,Imports", "./...")))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("read go list: %v", err)
		}
		g.pkgs[p.ImportPath] = p
	}
	g.module = strings.TrimSpace(string(command(t, "go", "list", "-m")))
	return g
}

// command runs a program at the top of the module.
func command(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = ".."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, stderr.Bytes())
	}
	return out
}

func TestArchArrows(t *testing.T) {
	g := load(t)
	for _, a := range arrows {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(g.pkgs)), func(p string) bool { return within(p, g.module+"/"+a.from) }) {
			t.Errorf("no package at %s: the arrow checks nothing", a.from)
		}
	}
	for _, v := range g.violations(arrows) {
		t.Error(v)
	}
}

// The checker itself: each case plants one import in a graph without fault.
func TestArchArrowsFindsPlanted(t *testing.T) {
	tests := []struct{ name, from, to, want string }{
		{"nothing", "", "", ""},
		{"webapp needs another module", "m/webapps/counter", "example.com/x", "webapps/counter reaches example.com/x"},
		{"webapps needs ours", "m/webapps", "m/membership", "webapps imports membership"},
		{"webapps needs std only through another", "fmt", "example.com/x", "webapps/counter reaches example.com/x"},
		{"deltamanager speaks HTTP", "m/deltamanager", "net/http", "deltamanager reaches net/http"},
		{
			"deltamanager speaks HTTP through another",
			"m/membership",
			"net/http",
			"deltamanager reaches net/http: m/deltamanager > m/membership > net/http",
		},
		{"deltamanager knows channel", "m/deltamanager", "m/channel", "deltamanager imports channel"},
		{"table knows members", "m/deltamanager/internal/table", "m/membership", "deltamanager/internal/table imports membership"},
		{"wire knows a core", "m/deltamanager/internal/wire", "m/deltamanager", "deltamanager/internal/wire imports deltamanager"},
		{"channel knows sessions", "m/channel", "m/deltamanager", "channel imports deltamanager"},
		{"channel speaks gRPC", "m/channel", "google.golang.org/grpc", "channel reaches google.golang.org/grpc"},
		{"channel speaks gRPC through its wire", "m/channel", "m/proto/channel/v1", "channel reaches google.golang.org/grpc"},
		{"a part of gRPC", "m/membership", "google.golang.org/grpc/codes", "membership reaches google.golang.org/grpc/codes"},
		{"transport knows sessions", "m/channel/grpctransport", "m/deltamanager", "channel/grpctransport imports deltamanager"},
		{"membership knows channel", "m/membership", "m/channel", "membership imports channel"},
		{"server knows viper", "m/server", viper, "server reaches " + viper},
		{"server knows conf", "m/server", "m/conf", "server imports conf"},
		{"a folder of server, too", "m/server/plugins", "m/conf", "server/plugins imports conf"},
		{"session knows the node", "m/server/session", "m/server", "server/session imports server"},
		{"session speaks gRPC", "m/server/session", "m/channel/grpctransport", "server/session reaches google.golang.org/grpc"},
		{"deploy knows the node", "m/server/deploy", "m/server", "server/deploy imports server"},
		{"admin knows the node", "m/server/admin", "m/server", "server/admin imports server"},
		{"the guard knows what it guards", "m/server/operators", "m/server/admin", "server/operators imports server/admin"},
		{"admin finds members", "m/server/admin", "m/channel", "server/admin imports channel"},
		{"session knows who deploys", "m/server/session", "m/server/deploy", "server/session imports server/deploy"},
		{"conf knows parts", "m/conf", "m/channel", "conf imports channel"},
		{"conf knows the node", "m/conf", "m/server", "conf imports server"},
		{"the balancer knows the node", "m/server/balance", "m/server", "server/balance imports server"},
		{"the balancer knows sessions", "m/server/balance", "m/deltamanager", "server/balance imports deltamanager"},
		{"config needs another module", "m/server/config", "example.com/x", "server/config reaches example.com/x"},
		{"command knows parts", "m/cmd/nodeserver", "m/deltamanager", "cmd/nodeserver imports deltamanager"},
		{"nobody knows e2e", "m/server", "m/e2e", "server imports e2e"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := faultless()
			p := g.pkgs[tt.from]
			p.Imports = append(p.Imports, tt.to)
			g.pkgs[tt.from] = p
			got := g.violations(arrows)
			if tt.want == "" && len(got) > 0 {
				t.Errorf("violations without cause: %q", got)
			}
			if !slices.ContainsFunc(got, func(v string) bool { return strings.HasPrefix(v, tt.want) }) && tt.want != "" {
				t.Errorf("violations = %q, want one %q", got, tt.want)
			}
		})
	}
}

// faultless is a small module m that keeps to the arrows.
func faultless() graph {
	g := graph{module: "m", pkgs: map[string]pkg{"fmt": {Standard: true}, "net/http": {Standard: true}, "": {}}}
	for path, imports := range map[string]string{
		"m/cmd/nodeserver": "m/conf m/server m/webapps/counter",
		"m/conf":           "m/server/config " + viper,
		"m/server": "m/webapps m/deltamanager m/channel/grpctransport m/server/plugins " +
			"m/server/deploy m/server/cluster m/server/admin net/http",
		"m/server/plugins":             "m/webapps",
		"m/server/config":              "",
		"m/server/admin":               "m/server/cluster m/server/deploy m/server/operators",
		"m/server/operators":           "m/server/cluster m/server/config",
		"m/server/cluster":             "m/server/config m/channel/grpctransport",
		"m/server/balance":             "m/server/cluster m/server/config",
		"m/server/deploy":              "m/server/session m/server/plugins m/channel",
		"m/server/session":             "m/webapps m/deltamanager",
		"m/webapps":                    "net/http",
		"m/webapps/counter":            "m/webapps fmt",
		"m/deltamanager":               "m/membership m/proto/session/v1",
		"m/channel":                    "m/membership",
		"m/channel/grpctransport":      "m/channel m/proto/channel/v1 google.golang.org/grpc",
		"m/membership":                 "m/proto/membership/v1",
		"m/proto/channel/v1":           "m/proto/membership/v1 google.golang.org/grpc",
		"m/proto/membership/v1":        "",
		"m/proto/session/v1":           "",
		"m/e2e":                        "m/conf m/deltamanager",
		viper:                          "fmt",
		"google.golang.org/grpc":       "net/http google.golang.org/grpc/codes",
		"google.golang.org/grpc/codes": "",
		"example.com/x":                "fmt",
	} {
		g.pkgs[path] = pkg{ImportPath: path, Imports: strings.Fields(imports)}
	}
	return g
}

// topLevel is fixed; names with a dot in front are free.
var topLevel = []string{
	"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "SECURITY.md", "go.mod", "go.sum",
	"bench", "channel", "cmd", "conf", "deltamanager", "deploy", "docs", "e2e", "membership", "proto", "server", "webapps",
}

func TestArchTopLevel(t *testing.T) {
	for _, name := range topNames(t) {
		if !strings.HasPrefix(name, ".") && !slices.Contains(topLevel, name) {
			t.Errorf("%s lies at the top level, which is fixed", name)
		}
	}
}

// topNames are the names git would commit; without git, all but what make builds.
func topNames(t *testing.T) []string {
	t.Helper()
	if _, err := os.Stat(filepath.Join("..", ".git")); err != nil {
		entries, err := filepath.Glob("../*")
		if err != nil || len(entries) == 0 {
			t.Fatalf("list the top level: %v, %d names", err, len(entries))
		}
		names := make([]string, 0, len(entries))
		for _, e := range entries {
			if name := filepath.Base(e); name != "bin" && name != "dist" {
				names = append(names, name)
			}
		}
		return names
	}
	out := command(t, "git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	names := map[string]bool{}
	for path := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		top, _, _ := strings.Cut(path, "/")
		names[top] = true
	}
	return slices.Sorted(maps.Keys(names))
}
