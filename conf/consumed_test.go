package conf_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/conf"
	"github.com/nodeserver/nodeserver/server/config"
)

// Each key that a conf file may have is read by the program, apart from this
// package: one that is taken and does nothing would be a lie.
func TestEveryKeyIsConsumed(t *testing.T) {
	read := fieldsRead(t, "server", "server/admin", "server/operators", "server/cluster", "server/balance",
		"server/internal/lively", "server/internal/proxied", "cmd/nodeserver")
	for section := range reflect.TypeFor[config.Config]().Fields() {
		of := section.Type
		if of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		for f := range of.Fields() {
			if !read[of.Name()+"."+f.Name] {
				t.Errorf(
					"[%s] %s is accepted, but nothing reads config.%s.%s", section.Tag.Get("conf"),
					f.Tag.Get("conf"), of.Name(), f.Name,
				)
			}
		}
	}
	if len(read) < 40 {
		t.Errorf("only %d fields seen: the test sees nothing", len(read))
	}
}

// fieldsRead are the fields of package config's types that the packages' code,
// tests apart, selects: "HTTP.Address".
func fieldsRead(t *testing.T, folders ...string) map[string]bool {
	t.Helper()
	const module = "github.com/nodeserver/nodeserver/"
	args := []string{"list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,CgoFiles"}
	for _, f := range folders {
		args = append(args, module+f)
	}
	type pkg struct {
		ImportPath, Dir, Export string
		GoFiles, CgoFiles       []string
	}
	pkgs := map[string]pkg{}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs[p.ImportPath] = p
	}
	fset := token.NewFileSet()
	imports := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(pkgs[path].Export) })
	read := map[string]bool{}
	for _, folder := range folders {
		p := pkgs[module+folder]
		var files []*ast.File
		for _, name := range append(p.GoFiles, p.CgoFiles...) {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		info := types.Info{Selections: map[*ast.SelectorExpr]*types.Selection{}}
		if _, err := (&types.Config{Importer: imports, FakeImportC: true}).Check(p.ImportPath, fset, files, &info); err != nil {
			t.Fatal(err)
		}
		for _, s := range info.Selections {
			of := s.Recv()
			if pointer, ok := of.Underlying().(*types.Pointer); ok {
				of = pointer.Elem()
			}
			if n, ok := of.(*types.Named); ok && s.Kind() == types.FieldVal && n.Obj().Pkg() != nil &&
				n.Obj().Pkg().Path() == module+"server/config" {
				read[n.Obj().Name()+"."+s.Obj().Name()] = true
			}
		}
	}
	return read
}

func TestKeysWithoutEffectAnywhere(t *testing.T) {
	const want = "has no effect in this version: remove it (every member holds every session)"
	for name, load := range map[string]func() error{
		"variable": func() error {
			_, _, err := conf.Load("", nil, []string{"NODESERVER_REPLICATION_REPLICAS=2"})
			return err
		},
		"command line": func() error { _, _, err := conf.Load("", []string{"replication.replicas=2"}, nil); return err },
	} {
		if err := load(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
