package plugins

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"golang.org/x/mod/modfile"

	"github.com/nodeserver/nodeserver/server/config"
)

//go:embed scaffold
var scaffold embed.FS

// Templates are the kinds of webapps that New writes, the default first.
func Templates() []string { return []string{"page", "api"} }

// NewOptions says what webapp to begin.
type NewOptions struct {
	Name     string // of the app, [a-z0-9-]{1,64}; the module is example.com/Name
	Dir      string // folder to make; empty: Name in the working directory
	Template string // one of Templates; empty: the first
	HostSrc  string // as in BuildOptions
}

// New writes the module of a new webapp: a handler with a session, its test, a
// README. Its go.mod asks for the versions that the running binary was built with. It
// needs the go command, and returns the files' names below Dir, sorted. A folder
// that has something in it is left alone, and is an error.
func New(ctx context.Context, o NewOptions) ([]string, error) {
	files, err := newApp(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("new webapp %q: %w", o.Name, err)
	}
	return files, nil
}

func newApp(ctx context.Context, o NewOptions) ([]string, error) {
	if !config.AppName(o.Name) {
		return nil, errors.New("the name is also the app's path: want 1 to 64 of a-z, 0-9 and -")
	}
	if o.Template == "" {
		o.Template = Templates()[0]
	}
	if !slices.Contains(Templates(), o.Template) {
		return nil, fmt.Errorf("there is no template %q: choose one of %s", o.Template, strings.Join(Templates(), ", "))
	}
	if o.Dir == "" {
		o.Dir = o.Name
	}
	host, err := self()
	if err != nil {
		return nil, err
	}
	tools, err := findTools(ctx, host)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(o.Dir) // so that "." has a name
	if err != nil {
		return nil, err
	}
	app := newModule{Name: o.Name, Package: packageName(o.Name), Base: filepath.Base(dir), API: apiModule}
	if !host.fromCache() {
		app.HostSrc, err = findHostSource(o.HostSrc, source{dir: o.Dir, modFile: new(modfile.File)})
		if err == nil {
			_, err = host.sameSources(app.HostSrc)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := makeEmpty(o.Dir); err != nil {
		return nil, err
	}
	if err := app.write(o.Dir, o.Template); err != nil {
		return nil, err
	}
	if err := app.require(ctx, o.Dir, host, tools); err != nil {
		return nil, err
	}
	return filesBelow(o.Dir)
}

// newModule is what the templates fill in.
type newModule struct {
	Name    string // of the app
	Package string // its Go package
	Base    string // of the folder, and so of the plugin
	API     string // module of package webapps
	HostSrc string // its sources, where it is not published; else empty
}

// packageName is the app's name without what a Go name can't have.
func packageName(app string) string {
	name := strings.ReplaceAll(app, "-", "")
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		name = "app" + name
	}
	return name
}

// makeEmpty makes the folder. One that is there must have nothing in it.
func makeEmpty(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	there, err := os.ReadDir(dir)
	if err == nil && len(there) > 0 {
		err = fmt.Errorf("the folder %s is not empty (it has %s): name another one", dir, there[0].Name())
	}
	return err
}

// write fills in the templates.
func (m newModule) write(dir, kind string) error {
	names := map[string]string{"scaffold/README.md.tmpl": "README.md", "scaffold/gitignore.tmpl": ".gitignore"}
	of, err := fs.Glob(scaffold, path.Join("scaffold", kind, "*.tmpl"))
	if err != nil {
		return err
	}
	for _, name := range of {
		names[name] = strings.TrimSuffix(path.Base(name), ".tmpl")
	}
	for from, to := range names {
		text, err := scaffold.ReadFile(from)
		if err != nil {
			return err
		}
		t := template.New(to)
		if strings.HasSuffix(to, ".html") { // a template itself, of the app's
			t = t.Delims("[[", "]]")
		}
		if t, err = t.Parse(string(text)); err != nil {
			return err
		}
		var out bytes.Buffer
		if err := t.Execute(&out, m); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, to), out.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// require writes go.mod and go.sum: Go itself works out what the tests need of
// the host's versions.
func (m newModule) require(ctx context.Context, dir string, host binary, t tools) error {
	f := new(modfile.File)
	version := host.modules[apiModule].version
	if m.HostSrc != "" {
		version = "v0.0.0"
	}
	language, _, _ := strings.Cut(goLanguage(host), "-") // without an experiment's name
	err := errors.Join(f.AddModuleStmt("example.com/"+m.Name), f.AddGoStmt(language), f.AddRequire(apiModule, version))
	if m.HostSrc != "" {
		err = errors.Join(err, f.AddReplace(apiModule, "", m.HostSrc, ""))
	}
	if err != nil {
		return err
	}
	text, err := f.Format()
	if err != nil {
		return err
	}
	if m.HostSrc != "" { // has been fetched with the host: its sums spare this module a look-up
		sums, err := os.ReadFile(filepath.Join(m.HostSrc, "go.sum"))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o644)
		}
		if err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), text, 0o644); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, t.goCmd, "mod", "tidy")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN="+t.toolchain, "GOWORK=off", "GOFLAGS=-mod=mod", "GO111MODULE=on")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf(
			"the files are written, but go mod tidy failed; run it in %s when its cause is gone: %w\n%s",
			dir, err, bytes.TrimSpace(out),
		)
	}
	return nil
}

// filesBelow are the names of the files in dir.
func filesBelow(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}
