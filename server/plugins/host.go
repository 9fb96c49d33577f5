package plugins

import (
	"errors"
	"maps"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/nodeserver/nodeserver/webapps"
)

// binary is what decides whether two binaries can share a process: what Go
// records in each at its build.
type binary struct {
	goVersion string
	path      string            // import path of its main package
	main      string            // path of the module that holds it
	settings  map[string]string // those that change the code of shared packages
	modules   map[string]module // by path; the main module, too
	cgo       bool
	mode      string // -buildmode
	file      string // of a host that is not the running binary
	api       string // of a host: hash of the sources of its package webapps
}

type module struct {
	version string
	sum     string // empty for one built from a working tree
}

func (m module) String() string {
	if m.sum == "" {
		return "(from a working tree)"
	}
	return m.version
}

// apiPath is the import path of package webapps, wherever the project is
// published; the module that holds it is what plugins are built against.
var (
	apiPath   = reflect.TypeFor[webapps.App]().PkgPath()
	apiModule = strings.TrimSuffix(apiPath, "/webapps")
)

// self reads the running binary.
func self() (binary, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return binary{}, errors.New("this binary carries no build info: build it in module mode, with go build")
	}
	b := newBinary(info)
	b.api = webapps.SourceHash()
	return b, nil
}

func newBinary(info *debug.BuildInfo) binary {
	b := binary{
		goVersion: info.GoVersion, path: info.Path, main: info.Main.Path,
		settings: map[string]string{}, modules: map[string]module{},
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "CGO_ENABLED":
			b.cgo = s.Value == "1"
		case s.Key == "-buildmode":
			b.mode = s.Value
		case shared(s):
			b.settings[s.Key] = s.Value
		}
	}
	for _, m := range append([]*debug.Module{&info.Main}, info.Deps...) {
		path := m.Path
		for m.Replace != nil {
			m = m.Replace
		}
		b.modules[path] = module{m.Version, m.Sum}
	}
	return b
}

// shared tells whether a setting changes the code of packages that a plugin
// and its host have in common. Flags for a binary's own packages don't, and
// cgo's flags don't reach Go code.
func shared(s debug.BuildSetting) bool {
	switch s.Key {
	case "-race", "-msan", "-asan", "-trimpath", "-tags":
		return true
	case "-gcflags", "-asmflags":
		return strings.Contains(s.Value, "=") // a pattern, such as all=-N
	}
	return strings.HasPrefix(s.Key, "GO") // GOOS, GOAMD64, GOEXPERIMENT…
}

// flags are the arguments and variables that make go build repeat b's settings,
// whatever the environment says.
func (b binary) flags() (args, env []string) {
	all := map[string]string{"-race": "false", "-msan": "false", "-asan": "false", "-trimpath": "false"}
	maps.Copy(all, b.settings)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if strings.HasPrefix(key, "-") {
			args = append(args, key+"="+all[key])
		} else {
			env = append(env, key+"="+all[key])
		}
	}
	return args, env
}

// fromCache tells whether the module that holds package webapps came, at a
// fixed version, from Go's module cache rather than from a working tree.
func (b binary) fromCache() bool { return b.modules[apiModule].sum != "" }
