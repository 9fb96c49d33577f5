package plugins_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// writeLibrary writes version n of a module that has what is not just Go files: C code with
// a symbol and a callback that both versions have, an embedded file, an internal package, a
// symbol of another package by its path in a linkname and in assembly, and a driver.
func writeLibrary(t *testing.T, n int) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "dep")
	v := strconv.Itoa(n)
	for name, text := range map[string]string{
		"go.mod": "module example.org/dep\n\ngo 1.21\n",
		"c.go": `package dep

// int answer(void);
import "C"

//export fromGo
func fromGo() C.int { return ` + v + ` }

func Answer() int { return int(C.answer()) }
`,
		"answer.c": "#include \"sub/answer.h\"\nextern int fromGo(void);\n" +
			"int shared_name(void) { return ANSWER; }\nint answer(void) { return 10 * fromGo() + shared_name(); }\n",
		"sub/answer.h":           "#define ANSWER " + v + "\n",
		"internal/word/word.txt": "word" + v,
		"internal/word/word.go": "package word\n\nimport _ \"embed\"\n\n//go:embed word.txt\nvar Word string\n\n" +
			"func hidden() string { return \"hidden" + v + "\" }\n",
		"link.v1/link.go": "package link\n\nimport (\n\t_ \"unsafe\"\n\n\t\"example.org/dep/internal/word\"\n)\n\n" +
			"//go:linkname hidden example.org/dep/internal/word.hidden\nfunc hidden() string\n\n" +
			"func Words() string { return word.Word + hidden() }\n",
		"link.v1/empty.s": "",
		"asm/value_amd64.s": "#include \"textflag.h\"\n\n" +
			"TEXT example·org∕dep∕asm·Value(SB),NOSPLIT,$0-8\n\tMOVQ $" + v + ", ret+0(FP)\n\tRET\n",
		"asm/value_amd64.go": "package asm\n\nfunc Value() int64\n",
		"asm/value_other.go": "//go:build !amd64\n\npackage asm\n\nfunc Value() int64 { return " + v + " }\n",
		"driver/driver.go": `package driver

import (
	"database/sql"
	"database/sql/driver"
	"errors"
)

type d struct{}

func (d) Open(string) (driver.Conn, error) { return nil, errors.New("driver` + v + `") }

func init() { sql.Register("dep", d{}) }
`,
	} {
		write(t, filepath.Join(dir, filepath.FromSlash(name)), text)
	}
	return dir
}

// Two versions of a library, both as folders that go.mod files replace it by, are in one
// process, and neither calls into the other.
func TestLibraryKinds(t *testing.T) {
	t.Parallel()
	app := func(name string, version int) string {
		dir := writeApp(t, name, "")
		write(
			t,
			filepath.Join(dir, "go.mod"),
			"module example.org/"+name+"\n\ngo 1.26\n\nrequire example.org/dep v0.0.0\n\nreplace example.org/dep => "+writeLibrary(
				t,
				version,
			)+"\n",
		)
		write(t, filepath.Join(dir, "words", "words.go"), `package words

import (
	"database/sql"
	"fmt"

	"example.org/dep"
	"example.org/dep/asm"
	_ "example.org/dep/driver"
	"example.org/dep/link.v1"
)

var Answer = fmt.Sprintln(dep.Answer(), link.Words(), asm.Value(), open())

func open() error {
	db, err := sql.Open("dep", "")
	if err != nil {
		return err
	}
	defer db.Close()
	return db.Ping()
}
`)
		return dir
	}
	got := serve(t, buildHost(t), app("one", 1), app("two", 2))
	want := []string{"one: 11 word1hidden1 1 driver1", "", "two: 22 word2hidden2 2 driver2"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// A package that can't be twice in a process is the host's, whatever version the app asks
// for; one that the host lacks must have one version in all apps.
func TestPinnedLibraries(t *testing.T) {
	t.Parallel()
	host := buildHost(t)
	trace := writeModule(t, "traced", `reflect.TypeFor[trace.Trace]().PkgPath() + " " + reflect.TypeFor[html.Node]().PkgPath()`,
		[]string{"golang.org/x/net v0.61.0"}, []string{`"reflect"`, `"golang.org/x/net/html"`, `"golang.org/x/net/trace"`})
	got := strings.Join(serve(t, host, trace), "")
	if !strings.HasPrefix(got, "traced: golang.org/x/net/trace webapplib/") {
		t.Errorf("the app answers %q, want x/net/trace from the host, and a copy of x/net/html", got)
	}
	logs := func(name, version string) string {
		return writeModule(
			t,
			name,
			`"ok"`,
			[]string{"github.com/golang/glog v1.2.5", "github.com/golang/glog => github.com/golang/glog " + version},
			[]string{`_ "github.com/golang/glog"`},
		)
	}
	out := t.TempDir()
	said, err := exec.CommandContext(t.Context(), host, out, logs("old", "v1.2.4"), logs("new", "v1.2.5")).CombinedOutput()
	want := "old: ok\nopen plugin " + filepath.Join(
		out,
		"new.so",
	) + ": it has github.com/golang/glog v1.2.5, but " + filepath.Join(out, "old.so") +
		", loaded before, has v1.2.4: require the same in both, and restart the node\n"
	if err == nil || string(said) != want {
		t.Errorf("got  %v, %s\nwant %s", err, said, want)
	}
}
