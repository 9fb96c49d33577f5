package conf

import (
	"cmp"
	"slices"
	"strings"
)

// Problem is one thing wrong in the configuration.
type Problem struct {
	Place string // FILE:LINE:COLUMN, FILE, NODESERVER_… or --set KEY=VALUE
	Key   string // section.key; empty where the place says it already
	Text  string // what is wrong, and what to do

	at origin
}

// String is the problem as one line.
func (p Problem) String() string {
	if p.Key == "" {
		return p.Place + ": " + p.Text
	}
	return p.Place + ": " + p.Key + ": " + p.Text
}

// Error holds everything that is wrong, at least one problem, in the order of
// the layers and of the lines.
type Error struct {
	Problems []Problem
}

// Error is all problems, one on each line.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Origin is a value as it came out, and where it came from.
type Origin struct {
	Key   string // section.key, or app.NAME.key
	Value string // as it would stand in TOML
	From  string // default (the machine's name for a node without one), FILE:LINE, NODESERVER_… or --set
}

// Origins tells of each value where it came from, in the order of
// nodeserver.toml, and what looks wrong though it is allowed.
type Origins struct {
	Values   []Origin
	Warnings []Problem
}

// layer is where a value may come from. Higher layers win.
type layer int

const (
	fromDefault layer = iota
	fromFile
	fromEnvironment
	fromSet
	layers
)

// origin is the place of one value.
type origin struct {
	layer     layer
	name      string // of the file, of the variable, or the argument of --set
	line, col int    // of the value in the file, 1-based
}

// source is the origin as shown beside a value.
func (o origin) source() string {
	switch o.layer {
	case fromFile:
		return o.name + ":" + itoa(o.line)
	case fromEnvironment:
		return o.name
	case fromSet:
		return "--set"
	default:
		return "default"
	}
}

// problem is a problem of the key at the origin.
func (o origin) problem(key, text string) Problem {
	p := Problem{Place: o.name, Key: key, Text: text, at: o}
	switch {
	case o.layer == fromSet:
		p.Place, p.Key = "--set "+o.name, ""
	case o.line > 0:
		p.Place += ":" + itoa(o.line) + ":" + itoa(o.col)
	}
	return p
}

// inOrder sorts problems by layer, line and column.
func inOrder(ps []Problem) {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.at.layer, b.at.layer), cmp.Compare(a.at.line, b.at.line), cmp.Compare(a.at.col, b.at.col),
			cmp.Compare(a.Key, b.Key),
		)
	})
}
