package plugins_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
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

// writeModule writes a webapp that requires the modules (PATH VERSION), and whose answer
// is the expression. It imports packages, each in its own form of an import.
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
		mod += "require " + m + "\n"
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
		return writeModule(t, name, path, []string{"github.com/go-chi/chi/v5 " + version}, []string{`"reflect"`, `"github.com/go-chi/chi/v5"`})
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
