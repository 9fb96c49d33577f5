package plugins_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"

	"github.com/nodeserver/nodeserver/server/plugins"
)

// buildHost builds testdata/host.
func buildHost(t *testing.T) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "host")
	args := []string{"build", "-o", file}
	if info, _ := debug.ReadBuildInfo(); slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race") // what this test's own build has compiled already
	}
	if out, err := exec.CommandContext(t.Context(), "go", append(args, "./testdata/host")...).CombinedOutput(); err != nil {
		t.Fatalf("build the host: %v\n%s", err, out)
	}
	return file
}

// writeModule writes a webapp that requires the modules (PATH VERSION), or replaces some (PATH =>
// PATH VERSION), and whose answer is the expression. It imports packages, each in its own form of
// an import.
func writeModule(t *testing.T, name, answer string, modules, imports []string) (dir string) {
	t.Helper()
	dir = writeApp(t, name, "")
	write(t, filepath.Join(dir, "words", "words.go"), fmt.Sprintf("package words\n\nimport (\n\t%s\n)\n\nvar Answer = %s\n",
		strings.Join(imports, "\n\t"), answer))
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	mod := "module example.org/" + name + "\n\ngo 1.26\n\nreplace github.com/nodeserver/nodeserver => " + root + "\n"
	for _, m := range modules {
		verb := "require "
		if strings.Contains(m, "=>") {
			verb = "replace "
		}
		mod += verb + m + "\n"
	}
	write(t, filepath.Join(dir, "go.mod"), mod)
	tidy(t, dir)
	return dir
}

func tidy(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "tidy")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go mod tidy: %v\n%s", err, out)
	}
}

// serve lets the host build, load and ask the apps, all in one process.
func serve(t *testing.T, host string, dirs ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), host, append([]string{t.TempDir()}, dirs...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// Two apps have two versions of a router, and one a version of a module that the host
// has, too. Apps with the same version share it.
func TestOwnLibraries(t *testing.T) {
	t.Parallel()
	const path = `reflect.TypeFor[chi.Mux]().PkgPath()`
	chi := func(name, version string) string {
		return writeModule(
			t,
			name,
			path,
			[]string{"github.com/go-chi/chi/v5 " + version},
			[]string{`"reflect"`, `"github.com/go-chi/chi/v5"`},
		)
	}
	sys := writeModule(t, "sys", `"x"`, []string{"golang.org/x/sys v0.50.0"}, []string{`_ "golang.org/x/sys/unix"`})
	write(t, filepath.Join(sys, "words", "words.go"), `package words

import "golang.org/x/sys/unix"

var Answer = func() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err.Error()
	}
	return unix.ByteSliceToString(u.Sysname[:])
}()
`)
	got := serve(t, buildHost(t), chi("old", "v5.2.5"), chi("new", "v5.5.0"), chi("again", "v5.5.0"), sys)
	if len(got) != 4 || got[3] != "sys: Linux" {
		t.Fatalf("the apps answer %q", got)
	}
	answers := make([]string, len(got))
	for i, line := range got {
		_, answers[i], _ = strings.Cut(line, ": ")
	}
	if answers[0] == answers[1] || answers[1] != answers[2] {
		t.Errorf("chi 5.2.5 is %s, 5.5.0 is %s and %s: want two versions of two paths", answers[0], answers[1], answers[2])
	}
	for _, a := range answers[:3] {
		if !strings.HasPrefix(a, "webapplib/go1.") || !strings.HasSuffix(a, "/github.com/go-chi/chi/v5") {
			t.Errorf("chi is %s, want a private path", a)
		}
	}
}

// A build machine serves nodes with another binary than its own: with other settings,
// or installed at a version.
func TestBuildForAnotherHost(t *testing.T) {
	t.Parallel()
	const api = "github.com/nodeserver/nodeserver"
	bin := t.TempDir()
	env := append(os.Environ(), "GOBIN="+bin, "GONOSUMDB="+api, "GOMODCACHE="+t.TempDir(),
		"GOPROXY=file://"+publish(t, api, "v0.1.0")+",file://"+goEnv(t, "GOMODCACHE")+"/cache/download,"+goEnv(t, "GOPROXY"))
	t.Cleanup(func() { run(t, env, "go", "clean", "-modcache") }) // its files are read-only
	run(t, env, "go", "install", "-trimpath", api+"/server/plugins/testdata/host@v0.1.0")
	installed := filepath.Join(bin, "host")
	trimmed := filepath.Join(t.TempDir(), "trimmed")
	run(t, env, "go", "build", "-trimpath", "-o", trimmed, "./testdata/host")
	app := writeModule(t, "elsewhere", "`hello`", []string{"github.com/go-chi/chi/v5 v5.5.0"}, []string{`_ "github.com/go-chi/chi/v5"`})
	own := buildHost(t)
	for name, host := range map[string]string{"installed": installed, "other settings": trimmed} {
		t.Run(name, func(t *testing.T) {
			out := t.TempDir()
			run(t, env, own, "-host", host, out, app)
			if got := run(t, env, host, out, filepath.Join(out, "elsewhere.so")); got != "elsewhere: hello\n" {
				t.Errorf("built for it, the app answers %q", got)
			}
			if host != installed {
				return
			}
			if got := run(t, env, host, out, app); got != "elsewhere: hello\n" {
				t.Errorf("built by it, the app answers %q", got)
			}
		})
	}
}

func TestBuildRefusesOtherHosts(t *testing.T) {
	app := writeApp(t, "fine", "hello")
	goCmd, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	if goCmd, err = filepath.EvalSymlinks(goCmd); err != nil {
		t.Fatal(err)
	}
	other := t.TempDir() // sources that the host was not built from
	write(t, filepath.Join(other, "go.mod"), "module github.com/nodeserver/nodeserver\n")
	write(t, filepath.Join(other, "webapps", "app.go"), "package webapps // other\n")
	host := buildHost(t)
	noHost := filepath.Join(t.TempDir(), "text")
	write(t, noHost, "#!/bin/sh\n")
	for name, c := range map[string]struct{ host, src, want string }{
		"text": {noHost, "", "the host: could not read Go build info from " + noHost + ": unrecognized file " +
			"format: name a nodeserver binary"},
		"other program": {goCmd, "", "the host " + goCmd + " is cmd/go, not a nodeserver: name a nodeserver binary"},
		"other sources": {
			host, other,
			filepath.Join(other, "webapps", "app.go") + " differs from what " + host + " was built from: give the " +
				"folder of its sources with --host-src",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := plugins.Build(t.Context(), plugins.BuildOptions{Dir: app, Out: t.TempDir(), Host: c.host, HostSrc: c.src})
			if want := "build " + app + ": " + c.want; err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

// publish makes a module proxy that has the module of this test at the version.
func publish(t *testing.T, path, version string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(dir, filepath.FromSlash(path), "@v", version)
	write(t, filepath.Join(filepath.Dir(base), "list"), version+"\n")
	write(t, base+".mod", string(mod))
	write(t, base+".info", fmt.Sprintf(`{"Version":%q,"Time":"2026-01-01T00:00:00Z"}`, version))
	f, err := os.Create(base + ".zip")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(zip.CreateFromDir(f, module.Version{Path: path, Version: version}, root), f.Close()); err != nil {
		t.Fatal(err)
	}
	return filepath.ToSlash(dir)
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimSpace(run(t, os.Environ(), "go", "env", name))
}

func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), name, args...) // also in a Cleanup
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out)
}
