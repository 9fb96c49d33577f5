package plugins

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// node is a binary as make build leaves it, and a plugin that fits it.
func node() (host, plugin binary) {
	host = binary{
		goVersion: "go1.26.8", cgo: true, mode: "exe", api: "0123456789ab",
		settings: map[string]string{"-trimpath": "true", "GOARCH": "amd64", "GOAMD64": "v1"},
		modules:  map[string]module{apiModule: {"(devel)", ""}, "golang.org/x/net": {"v0.60.0", "h1:a"}},
	}
	plugin = host
	plugin.settings, plugin.modules = maps.Clone(host.settings), maps.Clone(host.modules)
	plugin.modules["webapp/a"] = module{"(devel)", ""}
	return host, plugin
}

func TestDifferences(t *testing.T) {
	const again = ": rebuild it with this nodeserver's build DIR"
	for name, c := range map[string]struct {
		change func(host, p *binary, api *string)
		want   []string
	}{
		"none": {func(_, _ *binary, _ *string) {}, nil},
		"go version": {
			func(_, p *binary, _ *string) { p.goVersion = "go1.26.7" },
			[]string{"built by go1.26.7, this node by go1.26.8" + again},
		},
		"no trimpath": {
			func(_, p *binary, _ *string) { delete(p.settings, "-trimpath") },
			[]string{"built without -trimpath, this node with -trimpath=true" + again},
		},
		"race": {
			func(host, _ *binary, _ *string) { host.settings["-race"] = "true" },
			[]string{"built without -race, this node with -race=true" + again},
		},
		"tags and level": {
			func(_, p *binary, _ *string) { p.settings["-tags"], p.settings["GOAMD64"] = "netgo", "v3" },
			[]string{
				"built with -tags=netgo, this node without -tags" + again,
				"built with GOAMD64=v3, this node with GOAMD64=v1" + again,
			},
		},
		"module version": {
			func(_, p *binary, _ *string) { p.modules["golang.org/x/net"] = module{"v0.61.0", "h1:b"} },
			[]string{"built against golang.org/x/net v0.61.0, this node has v0.60.0: go get golang.org/x/net@v0.60.0 " +
				"in the webapp's module, then rebuild it"},
		},
		"module checksum": {
			func(_, p *binary, _ *string) { p.modules["golang.org/x/net"] = module{"v0.60.0", "h1:b"} },
			[]string{"built against another golang.org/x/net v0.60.0 than this node's, by its checksum" + again},
		},
		"stamped by git": {func(host, _ *binary, _ *string) { host.modules[apiModule] = module{"v0.0.0-2026+dirty", ""} }, nil},
		"tree against release": {
			func(host, _ *binary, _ *string) { host.modules[apiModule] = module{"v1.2.0", "h1:c"} },
			[]string{"built against " + apiModule + " (from a working tree), this node is v1.2.0" + again},
		},
		"other webapps": {
			func(_, _ *binary, api *string) { *api = "000000000000" },
			[]string{"built against other sources of package webapps (000000000000) than this node (0123456789ab)" + again},
		},
		"module the host lacks": {func(_, p *binary, _ *string) { p.modules["example.org/x"] = module{"v1.0.0", "h1:x"} }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			host, p := node()
			api := host.api
			c.change(&host, &p, &api)
			if diff := cmp.Diff(c.want, differences(host, p, api)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFlagsRepeatTheHost(t *testing.T) {
	host, _ := node()
	args, env := host.flags()
	if got, want := strings.Join(args, " "), "-asan=false -msan=false -race=false -trimpath=true"; got != want {
		t.Errorf("args %s, want %s", got, want)
	}
	if got, want := strings.Join(env, " "), "GOAMD64=v1 GOARCH=amd64"; got != want {
		t.Errorf("env %s, want %s", got, want)
	}
}

func TestCgolessHost(t *testing.T) {
	host, _ := node()
	host.cgo = false
	_, _, err := check(host, "a.so")
	want := "check plugin a.so: this nodeserver was built with CGO_ENABLED=0 and can't load plugins: " +
		"build it with cgo (apt-get install gcc; make build), or leave [webapps] dir empty and link the apps in"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestRewrite(t *testing.T) {
	const before = `// main package main
package main

import (
	"example.org/a"
	b "example.org/a/b"
	"example.org/ab" // another module
	_ "fmt"
)

var x = "example.org/a"
`
	const after = `// main package main
package webapp

import (
	"webapp/a/1"
	b "webapp/a/1/b"
	"example.org/ab" // another module
	_ "fmt"
)

var x = "example.org/a"
`
	rename := func(path string) string {
		if rest, ok := below(path, "example.org/a"); ok {
			return "webapp/a/1" + rest
		}
		return path
	}
	if diff := cmp.Diff(after, string(rewrite([]byte(before), rename, true))); diff != "" {
		t.Error(diff)
	}
	if got := string(rewrite([]byte("package main\n"), rename, false)); got != "package main\n" {
		t.Errorf("a main package beside the app became %q", got)
	}
	if got := string(rewrite([]byte("packag main"), rename, true)); got != "packag main" {
		t.Errorf("a broken file became %q", got)
	}
}

func TestIdentity(t *testing.T) {
	id := identity{"my-app", "0123456789ab", "ba9876543210"}
	if got, ok := parseIdentity(id.modulePath() + "/" + mainPackage); !ok || got != id {
		t.Errorf("%v came back as %v, %v", id, got, ok)
	}
	if _, ok := parseIdentity("example.org/cmd/app"); ok {
		t.Error("a path that Build didn't make was taken")
	}
}
