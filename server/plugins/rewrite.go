package plugins

import (
	"bytes"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
)

// rewrite renames imports of module from, and what lies below it, to module
// to. In the app's own package it also makes a package main importable. A file
// that doesn't parse comes back as it is, for the compiler to complain about.
func rewrite(text []byte, from, to string, inApp bool) []byte {
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
		if rest, ok := strings.CutPrefix(path, from); ok && (rest == "" || rest[0] == '/') {
			replace(i.Path.Pos(), i.Path.Value, strconv.Quote(to+rest))
		}
	}
	out.Write(text[done:])
	return out.Bytes()
}
