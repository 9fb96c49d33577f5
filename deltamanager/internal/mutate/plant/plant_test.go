package plant

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate"
)

const root = "../../../.."

// Whoever changes a line that a bug is planted at has to change bugs.patch.
func TestPatchFitsTheSources(t *testing.T) {
	dir := t.TempDir()
	if _, err := Overlay(root, dir); err != nil {
		t.Fatal(err)
	}
	made, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(made) == 0 {
		t.Fatal(made, err)
	}
	planted := 0
	for _, f := range made {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		planted += strings.Count(string(b), "mutate.Is(")
		if _, err := parser.ParseFile(token.NewFileSet(), f, b, 0); err != nil {
			t.Error(err)
		}
	}
	if want := len(mutate.All()); planted != want {
		t.Errorf("%d bugs are built in, want %d", planted, want)
	}
}

// A normal build has no trace of the bugs.
func TestSourcesAreClean(t *testing.T) {
	for _, glob := range []string{"*.go", "internal/*/*.go"} {
		files, err := filepath.Glob(filepath.Join(root, "deltamanager", glob))
		if err != nil || len(files) < 10 {
			t.Fatal(files, err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(b), importPath) {
				t.Errorf("%s imports %s", f, importPath)
			}
		}
	}
	if mutate.Built {
		t.Error("the bugs are built in")
	}
}

func TestHunksThatFitNowhereAreRefused(t *testing.T) {
	_, hunks := parse("--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@ f\n one\n-two\n+three\n")
	if got, err := apply("zero\none\ntwo\n", hunks["x"]); err != nil || got != "zero\none\nthree\n" {
		t.Errorf("%q, %v", got, err)
	}
	for _, text := range []string{"one\nfour\n", "one\ntwo\none\ntwo\n"} {
		if got, err := apply(text, hunks["x"]); err == nil {
			t.Errorf("%q became %q", text, got)
		}
	}
}
