package plugins

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"go/version"
	"hash"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// libraries is the first element of private import paths:
//
//	webapplib/LANGUAGE/HASH/PATH
//
// LANGUAGE is the version of Go that the package's go.mod asks for, since all of one
// language are one module to the go command. HASH is one of the package's files and of
// the hashes of what it imports, so that a path stands for one content, whichever machine builds
// it. PATH is the package's own path, where folders named internal and vendor have
// another name: the package's importers are elsewhere now.
const libraries = "webapplib"

// library is a package that is neither the standard library's nor the webapp's own.
type library struct {
	*listed
	content string // hash of its files, and of those of all that it imports
	seed    string // see registries
	hash    string // content, and the seeds
	pinned  string // why it keeps its path; empty: it has a private one
}

// world is all that a webapp imports, by import path.
type world struct {
	own      string // path of the webapp's module
	language string // the host's, as in go1.26
	all      []*library
	byPath   map[string]*library
	ownPkgs  []*listed
	place    string // what else packages are told apart by
}

// newWorld gives each package its path. The app is a hash of the webapp's own files.
func newWorld(s source, host binary, packages []*listed, app, cache string) (*world, error) {
	w := &world{own: s.modPath, language: version.Lang("go" + goLanguage(host)), byPath: map[string]*library{}}
	if host.settings["-trimpath"] != "true" { // then the folder is in the code
		w.place = cache
	}
	for _, l := range packages {
		if _, own := below(l.ImportPath, s.modPath); own && (l.Module != nil && l.Module.Main) {
			w.ownPkgs = append(w.ownPkgs, l)
		} else if l.ImportPath == databaseSQL || !l.Standard && l.ImportPath != apiPath {
			w.add(l)
		}
	}
	if err := w.pin(); err != nil {
		return nil, err
	}
	return w, w.hashAll(app)
}

func (w *world) add(l *listed) {
	lib := &library{listed: l}
	w.all = append(w.all, lib)
	w.byPath[l.ImportPath] = lib
}

// hashAll relies on the order of all: what a package imports comes before it.
func (w *world) hashAll(app string) error {
	for _, l := range w.all {
		h := sha256.New()
		_, _ = fmt.Fprintf(h, "1 %s %s %s\n", l.ImportPath, w.languageOf(l), w.place) // 1: of this scheme
		names, err := l.sources()
		if err != nil {
			return err
		}
		for _, name := range names {
			text, err := os.ReadFile(filepath.Join(l.Dir, filepath.FromSlash(name)))
			if err != nil {
				return err
			}
			note(h, name, text)
		}
		w.noteImports(h, l, func(of *library) string { return of.content })
		l.content = sum(h)
	}
	if err := w.seed(app); err != nil {
		return err
	}
	for _, l := range w.all {
		h := sha256.New()
		_, _ = fmt.Fprintf(h, "%s %s\n", l.content, l.seed)
		w.noteImports(h, l, func(of *library) string { return of.hash })
		l.hash = sum(h)
	}
	return nil
}

func (w *world) noteImports(h hash.Hash, l *library, of func(*library) string) {
	for _, i := range l.Imports {
		if lib := w.byPath[i]; lib != nil {
			_, _ = fmt.Fprintf(h, "%s %s\n", i, of(lib))
		}
	}
}

// sum is short enough for a path, and long enough for all packages there are of one path.
func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)[:6]) }

// languageOf is the Go version that the package is compiled as.
func (w *world) languageOf(l *library) string {
	m := l.Module
	switch {
	case m == nil: // of the standard library
		return w.language
	case m.GoVersion == "" && m.Replace != nil:
		m = m.Replace
	}
	if lang := version.Lang("go" + m.GoVersion); lang != "" {
		return lang
	}
	return "go1.16" // what a go.mod that doesn't say it means
}

var notImportable = strings.NewReplacer("/internal/", "/internal_/", "/vendor/", "/vendor_/")

// path is the package's import path in the plugin.
func (w *world) path(l *library) string {
	if l.pinned != "" {
		return l.ImportPath
	}
	path := notImportable.Replace("/" + l.ImportPath + "/")
	return libraries + "/" + w.languageOf(l) + "/" + l.hash + strings.TrimSuffix(path, "/")
}

// rename gives a path its private one.
func (w *world) rename(path string) string {
	if l := w.byPath[path]; l != nil {
		return w.path(l)
	}
	return path
}

// revision is the app's hash, and that of all its libraries.
func (w *world) revision(app string) string {
	h := sha256.New()
	_, _ = fmt.Fprintln(h, app)
	for _, l := range w.all {
		_, _ = fmt.Fprintln(h, w.path(l))
	}
	return sum(h)
}

// languages are those of the private packages, sorted.
func (w *world) languages() []string {
	var all []string
	for _, l := range w.all {
		if l.pinned == "" {
			all = append(all, w.languageOf(l))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
