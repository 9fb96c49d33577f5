package plugins

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPinnedIn(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"nothing": {"import \"net/http\"\nfunc F() { http.Handle(``, nil) }", ""},
		"handler in init": {
			"import \"net/http\"\nfunc init() { http.Handle(``, nil) }",
			"it calls net/http.Handle as it starts, which takes a name once in a process",
		},
		"flag": {
			"import \"flag\"\nvar f = flag.String(``, ``, ``)",
			"it calls flag.String as it starts, which takes a name once in a process",
		},
		"renamed import": {
			"import f \"flag\"\nvar x = f.Int(``, 1, ``)",
			"it calls flag.Int as it starts, which takes a name once in a process",
		},
		"flag set":    {"import \"flag\"\nvar f = flag.NewFlagSet(``, 0)", ""},
		"flag later":  {"import \"flag\"\nvar f = func() { flag.String(``, ``, ``) }", ""},
		"method init": {"import \"flag\"\ntype t int\nfunc (t) init() { flag.String(``, ``, ``) }", ""},
		"expvar": {
			"import \"expvar\"\nvar f = expvar.NewInt(``)",
			"it calls expvar.NewInt as it starts, which takes a name once in a process",
		},
		"takes a symbol": {"import _ \"unsafe\"\n//go:linkname nanotime runtime.nanotime\nfunc nanotime() int64", ""},
		"gives a symbol": {
			"import _ \"unsafe\"\n//go:linkname now net/http.now\nfunc now() int64 { return 1 }",
			"it defines net/http.now of the standard library (go:linkname)",
		},
		"gives another's": {"import _ \"unsafe\"\n//go:linkname now example.org/a.now\nfunc now() int64 { return 1 }", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := pinnedIn([]byte("package p\n" + c.text + "\n")); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestPinnedC(t *testing.T) {
	for text, want := range map[string]string{
		"#include \"sub/a.h\"\n":  "",
		"#include \"../a/a.h\"\n": "it has C code that needs files outside its folder (a.h)",
	} {
		dir := t.TempDir()
		for name, text := range map[string]string{"a.go": "package a\n\nimport \"C\"\n", "a.h": text} {
			if err := writeFile(filepath.Join(dir, name), []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		l := &library{listed: &listed{Dir: dir, CgoFiles: []string{"a.go"}, HFiles: []string{"a.h"}}}
		if got, err := l.pinnedFor(); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
}

// What a pinned package imports is pinned, too, and what imports it isn't.
func TestPinClosure(t *testing.T) {
	w := newTestWorld(
		&listed{ImportPath: "x/low"},
		&listed{ImportPath: "x/obj", Imports: []string{"x/low"}, SysoFiles: []string{"a.syso"}},
		&listed{ImportPath: "x/high", Imports: []string{"x/obj"}},
	)
	if err := w.pin(); err != nil {
		t.Fatal(err)
	}
	want := []Shared{{"x/obj", "it has an object file (a.syso), whose symbols can't be renamed"}}
	if diff := cmp.Diff(want, w.shared()); diff != "" {
		t.Error(diff)
	}
	if w.byPath["x/low"].pinned != imported || w.byPath["x/high"].pinned != "" {
		t.Errorf("low %q, high %q", w.byPath["x/low"].pinned, w.byPath["x/high"].pinned)
	}
}

func newTestWorld(packages ...*listed) *world {
	w := &world{language: "go1.26", byPath: map[string]*library{}}
	for _, l := range packages {
		w.add(l)
	}
	return w
}

// A path stands for a content: it changes with that of each import, and a registry's with
// those who register.
func TestHashes(t *testing.T) {
	const registry, entry = "github.com/gogo/protobuf/proto", "github.com/gogo/protobuf/proto"
	hashes := func(version, message, app string, own ...*listed) (dep, reg, high string) {
		w := newTestWorld(
			&listed{ImportPath: "x/internal/dep", Module: &listedModule{GoVersion: version}},
			&listed{ImportPath: registry, Module: &listedModule{}},
			&listed{ImportPath: message, Imports: []string{entry}, Module: &listedModule{}},
			&listed{ImportPath: "x/high", Imports: []string{"x/internal/dep"}, Module: &listedModule{GoVersion: "1.25.3"}},
		)
		w.ownPkgs = own
		if err := w.hashAll(app); err != nil {
			t.Fatal(err)
		}
		return w.rename("x/internal/dep"), w.rename(registry), w.rename("x/high")
	}
	dep, reg, high := hashes("1.22.1", "x/message", "app1")
	if !strings.HasPrefix(dep, "webapplib/go1.22/") || !strings.HasSuffix(dep, "/x/internal_/dep") ||
		!strings.HasPrefix(high, "webapplib/go1.25/") {
		t.Errorf("paths %s and %s", dep, high)
	}
	for name, c := range map[string]struct {
		version, message, app string
		own                   []*listed
		dep, reg, high        bool // the same as above
	}{
		"the same":                  {"1.22.9", "x/message", "app2", nil, true, true, true},
		"dep changed":               {"1.23.0", "x/message", "app1", nil, false, true, false},
		"another one registers":     {"1.22.1", "x/other", "app1", nil, true, false, true},
		"the app registers":         {"1.22.1", "x/message", "app1", []*listed{{Imports: []string{entry}}}, true, false, true},
		"the app imports something": {"1.22.1", "x/message", "app1", []*listed{{Imports: []string{"x/high"}}}, true, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			d, r, h := hashes(c.version, c.message, c.app, c.own...)
			if (d == dep) != c.dep || (r == reg) != c.reg || (h == high) != c.high {
				t.Errorf("%s, %s, %s after %s, %s, %s", d, r, h, dep, reg, high)
			}
		})
	}
}

func TestRewriteSymbols(t *testing.T) {
	rename := func(path string) string {
		if path == "example.org/a-b/yaml.v3" || path == "example.org/a" {
			return "webapplib/go1.21/012345abcdef/" + path
		}
		return path
	}
	const before = "package p\n\nimport _ \"unsafe\"\n\n//go:linkname one example.org/a-b/yaml%2ev3.One\nfunc one()\n\n" +
		"//go:linkname two runtime.two\nfunc two()\n\n//go:linkname three\nfunc three()\n"
	want := strings.ReplaceAll(before, "one example.org", "one webapplib/go1.21/012345abcdef/example.org")
	if diff := cmp.Diff(want, string(rewrite([]byte(before), rename, false))); diff != "" {
		t.Error(diff)
	}
	asm := string(rewriteAsm([]byte("JMP example·org∕a·X(SB)\nJMP ·Y(SB)\nJMP runtime·z(SB)\nJMP internal∕bytealg·I(SB)\n"), rename))
	want = "JMP webapplib∕go1·21∕012345abcdef∕example·org∕a·X(SB)\nJMP ·Y(SB)\n" +
		"JMP runtime·z(SB)\nJMP internal∕bytealg·I(SB)\n"
	if asm != want {
		t.Errorf("got  %s\nwant %s", asm, want)
	}
}
