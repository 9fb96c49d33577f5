package conf

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// document is a TOML file, taken apart: what each key holds and where it
// stands. The tree comes from go-toml's decoder, the places from its parser.
type document struct {
	name   string
	schema schema
	found  func(app int, key string, v any, at origin) // a value of a known key; app is the index of its [[app]], or -1
	bad    func(key, text string, at origin)           // a complaint
	old    func(key, now string, at origin)            // a key that has another name now
	head   func(at origin)                             // the next [[app]]

	tree   map[string]any
	parser unstable.Parser
	data   []byte
	app    int // index of the last [[app]], -1 before the first
}

// read walks the document. It returns false where the text is not TOML; the
// complaint about that has been made.
func (d *document) read(data []byte) bool {
	d.data, d.app = data, -1
	if err := toml.Unmarshal(data, &d.tree); err != nil {
		at := origin{layer: fromFile, name: d.name}
		if where, ok := errors.AsType[*toml.DecodeError](err); ok {
			at.line, at.col = where.Position()
		}
		d.bad("", "not TOML: "+explain(strings.TrimPrefix(err.Error(), "toml: ")), at)
		return false
	}
	d.parser.Reset(data)
	var section []string
	skip := false
	for d.parser.NextExpression() {
		e := d.parser.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			var at origin
			section, at, _ = d.key(e)
			skip = !d.section(section, e.Kind == unstable.ArrayTable, at)
		case unstable.KeyValue:
			if !skip {
				d.pair(section, e)
			}
		}
	}
	return true
}

// explain adds to the decoder's words the usual cause, where there is one.
func explain(text string) string {
	if strings.Contains(text, "expected newline") || strings.Contains(text, "start of value") || strings.Contains(text, "must be quoted") {
		return text + ` (is a text, a duration or an address without "quotes"?)`
	}
	return text
}

// section looks at a [head] or [[head]] and tells whether the keys under it
// are to be read.
func (d *document) section(path []string, array bool, at origin) bool {
	name, sub := path[0], len(path) > 1 && slices.Contains(d.schema.sections, join(path))
	switch {
	case free(path) && d.app >= 0:
		d.found(d.app, "app.config", d.lookup(path[:2]), at)
		return false
	case !slices.Contains(d.schema.sections, name):
		top := d.schema.top()
		hint := "known are " + strings.Join(top, ", ")
		if near := nearest(name, top); near != "" {
			hint = "did you mean " + near + "?"
		}
		d.bad(join(path), "unknown section ("+hint+")", at)
	case d.schema.known(join(path)):
		d.bad(join(path), "is a key, not a section: write "+path[1]+" = … under ["+name+"]", at)
	case len(path) > 1 && !sub:
		d.bad(join(path), d.schema.unknownKey(join(path)), at)
	case name == "app" && (!array && !sub || d.app < 0 && sub):
		d.bad(name, "write [[app]]: there may be several", at)
	case (name != "app" || sub) && array:
		d.bad(join(path), "write ["+join(path)+"]: there is only one", at)
	default:
		if array {
			d.app++
			d.head(at)
		}
		return true
	}
	return false
}

// free tells whether the path lies in a webapp's own settings.
func free(path []string) bool { return len(path) > 1 && path[0] == "app" && path[1] == "config" }

// pair looks at key = value.
func (d *document) pair(section []string, n *unstable.Node) {
	path, at, valueAt := d.key(n)
	path = append(slices.Clone(section), path...)
	key, value := join(path), n.Value()
	if now, ok := renamed[key]; ok {
		d.old(key, now, at)
		d.found(-1, now, d.lookup(path), valueAt)
		return
	}
	switch {
	case d.schema.known(key) && path[0] == "app":
		d.found(d.app, key, d.lookup(path), valueAt)
	case d.schema.known(key):
		d.found(-1, key, d.lookup(path), valueAt)
	case free(path) && d.app >= 0: // config.key = value: the first one brings the whole table
		d.found(d.app, "app.config", d.lookup(path[:2]), at)
	case key == "app":
		d.bad(key, "write [[app]] and its keys below", at)
	case !slices.Contains(d.schema.sections, key):
		d.bad(key, d.schema.unknownKey(key), at)
	case value.Kind == unstable.InlineTable:
		for c := value.Children(); c.Next(); {
			d.pair(path, c.Node())
		}
	default:
		d.bad(key, "is a section: write ["+key+"] and its keys below", at)
	}
}

// key is the dotted key of a head or pair, its place, and the place of a
// pair's value.
func (d *document) key(n *unstable.Node) (path []string, at, valueAt origin) {
	end := 0
	for k := n.Key(); k.Next(); {
		raw := k.Node().Raw
		if path == nil {
			at = d.at(int(raw.Offset))
		}
		path = append(path, string(k.Node().Data))
		end = int(raw.Offset + raw.Length)
	}
	rest := d.data[end:]
	if i := bytes.IndexByte(rest, '='); i >= 0 {
		i++
		for i < len(rest) && (rest[i] == ' ' || rest[i] == '\t') {
			i++
		}
		end += i
	}
	return path, at, d.at(end)
}

// at is the place of the byte. Columns count characters, as editors do.
func (d *document) at(offset int) origin {
	before := d.data[:offset]
	start := bytes.LastIndexByte(before, '\n') + 1
	return origin{
		layer: fromFile, name: d.name,
		line: bytes.Count(before, []byte{'\n'}) + 1,
		col:  utf8.RuneCount(before[start:]) + 1,
	}
}

// lookup is the value at the path, in the last [[app]] if it starts with app.
func (d *document) lookup(path []string) any {
	var v any = d.tree
	for i, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
		if apps, ok := v.([]any); ok && i == 0 && d.app >= 0 {
			v = apps[d.app]
		}
	}
	return v
}

// join writes a path as TOML does.
func join(path []string) string {
	words := make([]string, len(path))
	for i, p := range path {
		words[i] = p
		if strings.ContainsFunc(p, func(r rune) bool {
			return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
		}) || p == "" {
			words[i] = strconv.Quote(p)
		}
	}
	return strings.Join(words, ".")
}
