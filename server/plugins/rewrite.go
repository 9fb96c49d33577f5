package plugins

import (
	"bytes"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
)

// rewrite gives the imports of a Go file, and what its linknames refer to, the paths
// that rename says. In the app's own package it also makes a package main importable.
// A file that doesn't parse comes back as it is, for the compiler to complain about.
func rewrite(text []byte, rename func(path string) string, inApp bool) []byte {
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, "", text, parser.ImportsOnly)
	if err != nil {
		return text
	}
	var out bytes.Buffer
	done := 0
	replace := func(pos token.Pos, old, with string) {
		at := files.File(pos).Offset(pos)
		out.Write(text[done:at])
		out.WriteString(with)
		done = at + len(old)
	}
	if inApp && f.Name.Name == "main" {
		replace(f.Name.Pos(), "main", "webapp")
	}
	for _, i := range f.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			continue
		}
		if to := rename(path); to != path {
			replace(i.Path.Pos(), i.Path.Value, strconv.Quote(to))
		}
	}
	out.Write(text[done:])
	return linknames.ReplaceAllFunc(out.Bytes(), func(line []byte) []byte {
		at := bytes.LastIndexAny(line, " \t") + 1
		return append(bytes.Clone(line[:at]), renameSymbol(string(line[at:]), rename)...)
	})
}

// linknames are the directives that name a symbol of another package.
var linknames = regexp.MustCompile(`(?m)^//go:linkname[ \t]+\S+[ \t]+\S+`)

// asmNames are names in an assembly file that hold the path of a package: there a
// slash is written as U+2215, a dot as U+00B7.
var asmNames = regexp.MustCompile(`[\pL\pN_~·]+(?:∕[\pL\pN_~·%]+)+`)

var (
	fromAsm = strings.NewReplacer("∕", "/", "·", ".")
	toAsm   = strings.NewReplacer("/", "∕", ".", "·")
)

// rewriteAsm does the same for an assembly file.
func rewriteAsm(text []byte, rename func(path string) string) []byte {
	return asmNames.ReplaceAllFunc(text, func(name []byte) []byte {
		symbol := fromAsm.Replace(string(name))
		if to := renameSymbol(symbol, rename); to != symbol {
			return []byte(toAsm.Replace(to))
		}
		return name
	})
}

// renameSymbol renames the package of a symbol, PATH.NAME. In a path's last element
// the linker writes a dot as %2e.
func renameSymbol(symbol string, rename func(path string) string) string {
	slash := strings.LastIndexByte(symbol, '/') + 1
	pkg, name, ok := strings.Cut(symbol[slash:], ".")
	if !ok {
		return symbol
	}
	path := symbol[:slash] + strings.ReplaceAll(pkg, "%2e", ".")
	to := rename(path)
	if to == path {
		return symbol
	}
	slash = strings.LastIndexByte(to, '/') + 1
	return to[:slash] + strings.ReplaceAll(to[slash:], ".", "%2e") + "." + name
}
