package plugins

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/version"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
)

// BuildOptions says what to build.
type BuildOptions struct {
	Dir string // folder of the webapp's package
	Out string // the plugin, or the folder for NAME.so, which is there or ends in a slash; empty: the working directory
	// HostSrc is the folder of the sources the running binary was built from. Empty: the module of
	// its name that the webapp's go.mod replaces it by, or around Dir, the working directory or the
	// binary itself. Not needed for a binary installed at a version.
	HostSrc string
	// Host is the nodeserver binary to build for, of this machine or another one. Empty:
	// the running one.
	Host string
}

// Built is a plugin made by Build.
type Built struct {
	File     string
	Revision string // hash of the webapp's sources
	Bytes    int64
	Shared   []Shared // packages, sorted, that are shared with the node and all other plugins
}

// Shared is a package of a library that can't be twice in a process.
type Shared struct {
	Package string
	Why     string // "it calls …"
}

// Build makes a plugin that the host, mostly the running binary, can load: with the same
// toolchain and build settings, and against the same sources and module
// versions. It needs the go command and a C compiler. The file at Out is
// replaced only by one that passed Check.
func Build(ctx context.Context, o BuildOptions) (Built, error) {
	b, err := build(ctx, o)
	if err != nil {
		return Built{}, fmt.Errorf("build %s: %w", o.Dir, err)
	}
	return b, nil
}

func build(ctx context.Context, o BuildOptions) (Built, error) {
	host, err := hostBinary(o.Host)
	if err != nil {
		return Built{}, err
	}
	src, err := findSource(o.Dir)
	if err != nil {
		return Built{}, err
	}
	o.Out = outFile(o.Out, src.name+".so")
	tools, err := findTools(ctx, host)
	if err != nil {
		return Built{}, err
	}
	if err := fits(src.modFile, host); err != nil {
		return Built{}, err
	}
	work, err := os.MkdirTemp("", "nodeserver-build-")
	if err != nil {
		return Built{}, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	api, err := host.findAPI(ctx, o.HostSrc, src, tools, work)
	if err != nil {
		return Built{}, err
	}
	host.api = api.hash
	packages, err := src.list(ctx, host, tools, work)
	if err != nil {
		return Built{}, err
	}
	st, app, err := src.read()
	if err != nil {
		return Built{}, err
	}
	cache, err := cacheFolder()
	if err != nil {
		return Built{}, err
	}
	w, err := newWorld(src, host, packages, app, cache)
	if err != nil {
		return Built{}, err
	}
	libs, err := w.copyLibraries(cache)
	if err != nil {
		return Built{}, err
	}
	if err := src.stage(&st, filepath.Join(work, "app"), app, w, host, api.sums); err != nil {
		return Built{}, err
	}
	if err := writeWorkspace(work, host, append(libs, st.dir, api.workspace)); err != nil {
		return Built{}, err
	}
	c := compiler{host: host, tools: tools, work: work, src: src, app: st, cache: cache}
	built, err := c.compile(ctx, o.Out)
	built.Shared = w.shared()
	return built, err
}

// outFile is the plugin's file, where out may name its folder.
func outFile(out, name string) string {
	if stat, err := os.Stat(out); out == "" || strings.HasSuffix(out, string(filepath.Separator)) || err == nil && stat.IsDir() {
		return filepath.Join(out, name)
	}
	return out
}

// tools are the programs a build needs.
type tools struct {
	goCmd     string
	cc        string
	toolchain string // for GOTOOLCHAIN: the one that built the host
}

// Tools says which programs Build would use. The error says what to install.
func Tools(ctx context.Context) (string, error) {
	host, err := self()
	if err != nil {
		return "", err
	}
	if !host.cgo {
		return "", errNoCgo
	}
	t, err := findTools(ctx, host)
	if err != nil {
		return "", err
	}
	if t.toolchain != "local" {
		return fmt.Sprintf("%s fetches %s, which this nodeserver was built with; C compiler: %s", t.goCmd, t.toolchain, t.cc), nil
	}
	return fmt.Sprintf("%s is %s, as this nodeserver was built with; C compiler: %s", t.goCmd, host.goVersion, t.cc), nil
}

// findTools looks for them, and says what to install where one is missing.
func findTools(ctx context.Context, host binary) (tools, error) {
	goCmd, err := exec.LookPath("go")
	if err != nil {
		return tools{}, fmt.Errorf("no go command in PATH: install %s", host.goVersion)
	}
	cmd := exec.CommandContext(ctx, goCmd, "env", "-json", "GOVERSION", "CC")
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=local")
	cmd.Dir = os.TempDir() // out of reach of any go.mod
	out, err := cmd.Output()
	if err != nil {
		return tools{}, fmt.Errorf("ask %s for its version: %w", goCmd, err)
	}
	var env struct{ GOVERSION, CC string }
	if err := json.Unmarshal(out, &env); err != nil {
		return tools{}, fmt.Errorf("ask %s for its version: %w", goCmd, err)
	}
	cc, _, _ := strings.Cut(env.CC, " ")
	if _, err := exec.LookPath(cc); err != nil {
		return tools{}, fmt.Errorf("no C compiler (%s) in PATH, which linking a plugin needs: apt-get install gcc libc6-dev", cc)
	}
	if host.settings["GOARCH"] != runtime.GOARCH && os.Getenv("CC") == "" {
		return tools{}, fmt.Errorf("the nodeserver is for %s, this machine is %s: set CC to a C compiler for %[1]s",
			host.settings["GOARCH"], runtime.GOARCH)
	}
	t := tools{goCmd: goCmd, cc: cc, toolchain: "local"}
	if env.GOVERSION != host.goVersion {
		t.toolchain = host.goVersion // the go command fetches it
		if version.Compare(env.GOVERSION, fetches) < 0 {
			return tools{}, fmt.Errorf("%s is %s, too old to fetch another: install %s", goCmd, env.GOVERSION, host.goVersion)
		}
	}
	return t, nil
}

// fetches is the first Go that fetches the toolchain which GOTOOLCHAIN names.
const fetches = "go1.21"

// fits refuses a module that needs a newer Go than the host was built with: a
// plugin can only be built with the host's.
func fits(mod *modfile.File, host binary) error {
	if mod.Go == nil || version.Compare("go"+mod.Go.Version, host.goVersion) <= 0 {
		return nil
	}
	return fmt.Errorf(
		"%s:%d asks for go %s, and a plugin is built with its host's Go, which is %s: go mod edit -go=%s, or build "+
			"this nodeserver with a newer Go",
		mod.Syntax.Name,
		mod.Go.Syntax.Start.Line,
		mod.Go.Version,
		host.goVersion,
		goLanguage(host),
	)
}

// writeWorkspace joins the staged module, its libraries and the host's sources, so that
// the plugin is compiled against those very packages under their very names.
func writeWorkspace(work string, host binary, modules []string) error {
	var text bytes.Buffer
	_, _ = fmt.Fprintf(&text, "go %s\n", goLanguage(host)) // never fails
	for _, m := range modules {
		if m != "" {
			_, _ = fmt.Fprintf(&text, "use %q\n", m)
		}
	}
	return writeFile(filepath.Join(work, "go.work"), text.Bytes())
}

// goLanguage is the host's Go version as go.work spells it.
func goLanguage(host binary) string {
	v, _, _ := strings.Cut(strings.TrimPrefix(host.goVersion, "go"), " ")
	return v
}

// compiler runs the go command on a staged source.
type compiler struct {
	host  binary
	tools tools
	work  string
	src   source
	app   staged
	cache string
}

func (c compiler) compile(ctx context.Context, out string) (Built, error) {
	out, err := filepath.Abs(out)
	if err != nil {
		return Built{}, err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return Built{}, err
	}
	fresh := out + ".new"                   // beside it, so that the rename is atomic
	defer func() { _ = os.Remove(fresh) }() // already gone if all went well
	cmd := c.command(ctx, fresh)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return Built{}, c.explain(said.String(), err)
	}
	if _, _, err := check(c.host, fresh); err != nil {
		return Built{}, err
	}
	info, err := os.Stat(fresh)
	if err != nil {
		return Built{}, err
	}
	if err := os.Rename(fresh, out); err != nil {
		return Built{}, err
	}
	return Built{File: out, Revision: c.app.revision, Bytes: info.Size()}, nil
}

func (c compiler) command(ctx context.Context, out string) *exec.Cmd {
	args, env := c.host.flags()
	args = append([]string{"build", "-buildmode=plugin", "-buildvcs=false", "-ldflags=-s -w", "-o", out}, args...)
	cmd := c.tools.command(ctx, append(args, "./"+mainPackage)...)
	cmd.Dir = c.app.dir
	cmd.Env = append(cmd.Env, append(env, "GOWORK="+filepath.Join(c.work, "go.work"))...)
	return cmd
}

// command is the go command with the host's toolchain, whatever the author's shell says.
func (t tools) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, t.goCmd, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it ends its compilers, too
	cmd.WaitDelay = 5 * time.Second
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "GOTOOLCHAIN="+t.toolchain, "GOFLAGS=-buildvcs=false", "GO111MODULE=on")
	return cmd
}

// explain gives the compiler's words with the author's paths in the place of
// the staged ones.
func (c compiler) explain(said string, err error) error {
	said = privatePath.ReplaceAllString(strings.ReplaceAll(said, c.cache+string(filepath.Separator), libraries+"/"), "")
	return explain(said, err, strings.NewReplacer(
		c.app.dir, c.src.root,
		c.app.modPath+"/"+mainPackage, c.src.modPath,
		c.app.modPath, c.src.modPath,
	))
}

var privatePath = regexp.MustCompile(libraries + `/go[0-9.]+/[0-9a-f]{12}/`)

func explain(said string, err error, paths *strings.Replacer) error {
	if strings.TrimSpace(said) == "" {
		return err
	}
	return errors.New(strings.TrimSpace(paths.Replace(said)))
}
