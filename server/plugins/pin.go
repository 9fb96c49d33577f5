package plugins

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// pin finds the packages that can't have a second copy in a process, or not under
// another path. They keep theirs, and so does what they import: as with any package that
// a plugin shares, the host's version and every other plugin's must be the same.
func (w *world) pin() error {
	for _, l := range w.all {
		if l.Standard {
			continue
		}
		why, err := l.pinnedFor()
		if err != nil {
			return err
		}
		l.pinned = why
	}
	for _, l := range slices.Backward(w.all) { // importers first
		if l.pinned == "" {
			continue
		}
		for _, i := range l.Imports {
			if of := w.byPath[i]; of != nil && of.pinned == "" {
				of.pinned = imported
			}
		}
	}
	return nil
}

// imported is why a package keeps its path that has no reason of its own.
const imported = "a package imports it that keeps its path"

// shared are the packages that keep their path for a reason of their own.
func (w *world) shared() []Shared {
	var all []Shared
	for _, l := range w.all {
		if l.pinned != "" && l.pinned != imported {
			all = append(all, Shared{l.ImportPath, l.pinned})
		}
	}
	slices.SortFunc(all, func(a, b Shared) int { return strings.Compare(a.Package, b.Package) })
	return all
}

// onceOnly are functions that panic, or end the process, when they are called twice
// with one name. All plugins and the host have one copy of them.
var onceOnly = map[string][]string{
	"archive/zip":  {"RegisterCompressor", "RegisterDecompressor"},
	"encoding/gob": {"RegisterName"},
	"expvar":       {"NewFloat", "NewInt", "NewMap", "NewString", "Publish"},
	"flag": {
		"Bool", "BoolFunc", "BoolVar", "Duration", "DurationVar", "Float64", "Float64Var", "Func", "Int", "Int64", "Int64Var",
		"IntVar", "String", "StringVar", "TextVar", "Uint", "Uint64", "Uint64Var", "UintVar", "Var",
	},
	"net/http": {"Handle", "HandleFunc"},
}

// pinnedFor is why the package keeps its path; mostly, there is no reason.
func (l *library) pinnedFor() (string, error) {
	switch {
	case len(l.SysoFiles) > 0:
		return "it has an object file (" + l.SysoFiles[0] + "), whose symbols can't be renamed", nil
	case len(l.SwigFiles)+len(l.SwigCXXFiles) > 0:
		return "it is built with SWIG", nil
	}
	for _, name := range slices.Concat(l.GoFiles, l.CgoFiles) {
		text, err := os.ReadFile(filepath.Join(l.Dir, name))
		if err != nil {
			return "", err
		}
		if why := pinnedIn(text); why != "" {
			return why, nil
		}
	}
	return l.pinnedC()
}

// pinnedC looks at what is compiled in C: it must lie in the package's own folder,
// which is all that is copied.
func (l *library) pinnedC() (string, error) {
	if len(l.CgoFiles) == 0 {
		return "", nil
	}
	for _, name := range slices.Concat(l.CgoFiles, l.CFiles, l.CXXFiles, l.MFiles, l.HFiles) {
		text, err := os.ReadFile(filepath.Join(l.Dir, name))
		if err != nil {
			return "", err
		}
		if bytes.Contains(text, []byte(`#include "../`)) || bytes.Contains(text, []byte("SRCDIR}/..")) {
			return "it has C code that needs files outside its folder (" + name + ")", nil
		}
	}
	return "", nil
}

// pinnedIn looks into one Go file.
func pinnedIn(text []byte) string {
	linkname := bytes.Contains(text, []byte("\n//go:linkname "))
	once := slices.ContainsFunc(oncePaths, func(p string) bool { return bytes.Contains(text, []byte(p)) })
	if !linkname && !once {
		return ""
	}
	f, err := parser.ParseFile(token.NewFileSet(), "", text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return "" // the compiler will tell
	}
	if linkname {
		if symbol := defines(f); symbol != "" {
			return "it defines " + symbol + " of the standard library (go:linkname)"
		}
	}
	return registersOnce(f)
}

// oncePaths are the packages of onceOnly as an import spells them.
var oncePaths = func() (all []string) {
	for path := range onceOnly {
		all = append(all, strconv.Quote(path))
	}
	return all
}()

// defines is a symbol of a package of the standard library that the file has the body of.
func defines(f *ast.File) string {
	bodies := map[string]bool{}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Body != nil {
			bodies[fn.Name.Name] = true
		}
	}
	for _, group := range f.Comments {
		for _, c := range group.List {
			words := strings.Fields(c.Text)
			if len(words) != 3 || words[0] != "//go:linkname" || !bodies[words[1]] {
				continue
			}
			if first, _, _ := strings.Cut(words[2], "/"); strings.Contains(words[2], ".") &&
				(first == words[2] || !strings.Contains(first, ".")) && !strings.HasPrefix(words[2], "main.") {
				return words[2]
			}
		}
	}
	return ""
}

// registersOnce is a call, as the package is initialised, of a function in onceOnly.
func registersOnce(f *ast.File) string {
	names := map[string]string{} // of the imports in this file
	for _, i := range f.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil || onceOnly[p] == nil {
			continue
		}
		name := path.Base(p)
		if i.Name != nil {
			name = i.Name.Name
		}
		names[name] = p
	}
	found := ""
	look := func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return found == ""
		}
		if s, ok := call.Fun.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && slices.Contains(onceOnly[names[x.Name]], s.Sel.Name) {
				found = fmt.Sprintf("it calls %s.%s as it starts, which takes a name once in a process", names[x.Name], s.Sel.Name)
			}
		}
		return found == ""
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name == "init" {
				ast.Inspect(d.Body, look)
			}
		case *ast.GenDecl:
			ast.Inspect(d, func(n ast.Node) bool {
				_, later := n.(*ast.FuncLit) // runs when it is called
				return !later && n != nil && look(n)
			})
		}
	}
	return found
}
