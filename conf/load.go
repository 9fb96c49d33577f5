package conf

import (
	"bytes"
	_ "embed" // nodeserver.toml
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"

	"github.com/nodeserver/nodeserver/server/config"
)

//go:embed nodeserver.toml
var defaults []byte

// Load reads the configuration: defaults, the TOML file (none if the name is
// empty), the variables NODESERVER_… of environ ("NAME=value", as os.Environ
// gives them) and sets ("section.key=value"), later ones over earlier ones. An
// *Error holds everything that is wrong; any other error says why the file
// can't be read.
func Load(file string, sets, environ []string) (config.Config, *Origins, error) {
	l := newLoader(file)
	if err := l.defaults(); err != nil {
		return config.Config{}, nil, err
	}
	whole, err := l.readFile()
	if err != nil {
		return config.Config{}, nil, err
	}
	l.readEnvironment(environ)
	l.readSets(sets)
	cfg, err := l.merge()
	if err != nil {
		return config.Config{}, nil, err
	}
	l.inherit(&cfg)
	if whole {
		l.check(cfg)
	}
	if len(l.problems) > 0 {
		inOrder(l.problems)
		return config.Config{}, nil, &Error{Problems: l.problems}
	}
	inOrder(l.warnings)
	return cfg, &Origins{Values: l.values(cfg), Warnings: l.warnings}, nil
}

// loader gathers the layers.
type loader struct {
	file     string
	schema   schema
	keys     []string               // as in nodeserver.toml
	like     map[string]string      // a good value of each key
	layers   [layers]map[string]any // typed values by key
	origins  map[string]origin      // of the value that wins
	apps     []config.App           // one for each [[app]]
	appFrom  []map[string]origin    // of each app's keys; "" is its head
	bad      map[string]bool        // keys with a problem
	problems []Problem
	warnings []Problem
}

func newLoader(file string) *loader {
	l := &loader{
		file: file, schema: newSchema(),
		like: map[string]string{}, origins: map[string]origin{}, bad: map[string]bool{},
	}
	for i := range l.layers {
		l.layers[i] = map[string]any{}
	}
	return l
}

// problem notes what is wrong with a key, once for each place.
func (l *loader) problem(key, text string, at origin) {
	l.bad[key] = true
	l.problems = append(l.problems, at.problem(key, text))
}

// old warns of a key that has another name now. To give both would say two things of one.
func (l *loader) old(key, now string, at origin) {
	if _, both := l.layers[at.layer][now]; both {
		l.problem(now, "is given as "+key+", too: remove that, its name of before", at)
		return
	}
	l.warnings = append(l.warnings, at.problem("", key+" "+isNow(now)))
}

// set puts a value, or the complaint about it, into the origin's layer.
func (l *loader) set(key string, v any, err error, at origin) {
	if err != nil {
		l.problem(key, err.Error(), at)
		return
	}
	if key == "node.name" && v == "" && at.layer != fromDefault {
		return // as unset: the machine's name
	}
	l.layers[at.layer][key] = v
	l.origins[key] = at
}

// defaults reads the built-in layer.
func (l *loader) defaults() error {
	d := document{name: "nodeserver.toml", schema: l.schema, bad: l.problem, head: func(origin) {}}
	d.found = func(_ int, key string, v any, _ origin) {
		l.keys = append(l.keys, key)
		l.like[key] = like(v)
		typed, err := convert(l.schema.kinds[key], v, l.like[key])
		l.set(key, typed, err, origin{layer: fromDefault, name: d.name})
	}
	d.read(defaults)
	if len(l.problems) > 0 {
		return fmt.Errorf("built-in %w", &Error{Problems: l.problems})
	}
	if l.layers[fromDefault]["node.name"] == "" {
		host, _ := os.Hostname() // without one the key is missing, and check says so
		l.layers[fromDefault]["node.name"] = nameOf(host)
	}
	return nil
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9_-]`)

// nameOf makes a node's name of the machine's. Of a long one it takes the end:
// that is where orchestrators put what tells one pod from the next.
func nameOf(host string) string {
	host, _, _ = strings.Cut(host, ".")
	host = notInName.ReplaceAllString(host, "-")
	return host[max(0, len(host)-32):]
}

// like is a default as an example of its kind: 250ms, ["mdns"].
func like(v any) string {
	if items, ok := v.([]any); ok {
		words, _ := toList(items, "")
		if len(words) == 0 {
			words = []string{"127.0.0.1:4001"}
		}
		return show(words)
	}
	if s, ok := v.(string); ok {
		return s
	}
	return show(v)
}

// readFile reads the file's layer. It returns false if the file is not TOML.
func (l *loader) readFile() (whole bool, err error) {
	if l.file == "" {
		return true, nil
	}
	data, err := readText(l.file)
	if err != nil {
		return false, fmt.Errorf("read configuration: %w", err)
	}
	d := document{name: l.file, schema: l.schema, bad: l.problem, old: l.old, found: l.found}
	d.head = func(at origin) {
		l.apps = append(l.apps, config.App{})
		l.appFrom = append(l.appFrom, map[string]origin{"": at})
	}
	return d.read(data), nil
}

// maxFile is how long a configuration file may be: what is longer was named by mistake.
const maxFile = 1 << 20

// readText reads a file without the mark (BOM) that some editors put before UTF-8.
func readText(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // was only read
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxFile:
		return nil, fmt.Errorf("%s is longer than 1 MiB, which no configuration file is", name)
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		return nil, fmt.Errorf("%s is UTF-16 text: save it as UTF-8", name)
	}
	return bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), nil
}

// found takes a value of the file.
func (l *loader) found(app int, key string, v any, at origin) {
	typed, err := convert(l.schema.kinds[key], v, l.likeOf(key))
	if t := l.schema.words[key]; t != nil && err != nil && l.schema.kinds[key] == text {
		err = fmt.Errorf("%s is none of %s", show(v), strings.Join(newWord(t).Words(), ", "))
	}
	if app >= 0 {
		l.setApp(app, strings.TrimPrefix(key, "app."), typed, err, at)
		return
	}
	if path, ok := typed.(string); ok && path != "" && slices.Contains(files, key) && !filepath.IsAbs(path) {
		typed = filepath.Join(filepath.Dir(l.file), path)
	}
	l.set(key, typed, err, at)
}

func (l *loader) likeOf(key string) string {
	if like := l.like[key]; like != "" {
		return like
	}
	return "30m" // of an app, whose durations have no default
}

// orchestrators describe services by variables that may start with our prefix.
var foreign = regexp.MustCompile(`_SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?$|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$`)

// readEnvironment reads the layer of variables.
func (l *loader) readEnvironment(environ []string) {
	for _, pair := range slices.Sorted(slices.Values(environ)) {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "NODESERVER_") || value == "" || foreign.MatchString(name) {
			continue
		}
		at := origin{layer: fromEnvironment, name: name}
		key, ok := l.schema.envs[name]
		for old, now := range renamed {
			if variable(old) == name {
				l.old(name, variable(now), at)
				key, ok = now, true
			}
		}
		if !ok {
			l.unknownVariable(name, at)
			continue
		}
		v, err := convertText(l.schema.kinds[key], value, l.likeOf(key))
		l.set(key, v, err, at)
	}
}

// unknownVariable complains, or only warns where the variable may be another
// program's.
func (l *loader) unknownVariable(name string, at origin) {
	text := "unknown variable"
	for key, now := range later {
		if variable(key) == name {
			l.problem("", noEffect(now), at)
			return
		}
	}
	if near := nearest(name, slices.Collect(maps.Keys(l.schema.envs))); near != "" {
		text += " (did you mean " + near + "?)"
	}
	section, _, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(name, "NODESERVER_")), "_")
	if slices.Contains(l.schema.sections, section) {
		l.problem("", text, at)
		return
	}
	l.warnings = append(l.warnings, at.problem("", text))
}

// readSets reads the layer of the command line.
func (l *loader) readSets(sets []string) {
	for _, set := range sets {
		at := origin{layer: fromSet, name: set}
		key, value, ok := strings.Cut(set, "=")
		key = strings.TrimSpace(key)
		if now, old := renamed[key]; old {
			l.old(key, now, at)
			key = now
		}
		switch {
		case !ok:
			l.problem("", "write section.key=value", at)
		case strings.HasPrefix(key, "app."):
			l.problem("", "settings of webapps come from [[app]] in the file only", at)
		case !l.schema.known(key):
			l.problem("", l.schema.unknownKey(key), at)
		default:
			v, err := convertText(l.schema.kinds[key], value, l.likeOf(key))
			l.set(key, v, err, at)
		}
	}
}

// merge lays the layers over each other and fills the struct.
func (l *loader) merge() (config.Config, error) {
	v := viper.New()
	for key, value := range l.layers[fromDefault] {
		v.SetDefault(key, value)
	}
	for _, layer := range []layer{fromFile, fromEnvironment} {
		if err := v.MergeConfigMap(nest(l.layers[layer])); err != nil {
			return config.Config{}, fmt.Errorf("merge configuration: %w", err)
		}
	}
	for key, value := range l.layers[fromSet] {
		v.Set(key, value)
	}
	v.Set("app", l.apps) // typed, so that viper leaves the case of its keys alone
	var cfg config.Config
	err := v.UnmarshalExact(&cfg, func(c *mapstructure.DecoderConfig) {
		c.TagName, c.ErrorUnset, c.WeaklyTypedInput = "conf", true, false
	})
	if err != nil {
		return config.Config{}, fmt.Errorf("merge configuration: %w", err)
	}
	return cfg, nil
}

// nest makes of section.key a map of maps.
func nest(flat map[string]any) map[string]any {
	tree := map[string]any{}
	for key, v := range flat {
		at, path := tree, strings.Split(key, ".")
		for _, section := range path[:len(path)-1] {
			if at[section] == nil {
				at[section] = map[string]any{}
			}
			at = at[section].(map[string]any)
		}
		at[path[len(path)-1]] = v
	}
	return tree
}

// value is the value of a key that wins.
func (l *loader) value(key string) any {
	return l.layers[l.origins[key].layer][key]
}

// values lists every value with its origin.
func (l *loader) values(cfg config.Config) []Origin {
	var list []Origin
	for _, key := range l.keys {
		list = append(list, Origin{Key: key, Value: l.show(key), From: l.origins[key].source()})
	}
	return append(list, l.appValues(cfg)...)
}

// show is the winning value of a key as it would stand in TOML.
func (l *loader) show(key string) string {
	if n, ok := l.value(key).(int); ok && l.schema.kinds[key] == size {
		return strconv.Quote(showSize(n))
	}
	return show(l.value(key))
}
