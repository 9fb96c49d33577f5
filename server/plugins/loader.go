package plugins

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"plugin"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/keys"
	"github.com/nodeserver/nodeserver/webapps"
)

// openLimit is how long a plugin's package initialisation may take.
const (
	openLimit    = 10 * time.Second
	initOrWebapp = "its init or Webapp function"
)

// Plugin is a webapp's code inside this process, for good: Go can't unload.
type Plugin struct {
	File     string // where it was loaded from
	Revision string // hash of the webapp's sources
	App      webapps.App
}

// Loader loads plugins. A process needs one, since what it remembers is the
// process's: which revisions are in it and which files failed. Safe for
// concurrent use; one plugin is loaded at a time.
type Loader struct {
	mu     sync.Mutex
	opened map[string]result // by hash of the file's content
	loaded map[string]loaded // by module path
}

// loaded is a module that a plugin brought into the process, for good.
type loaded struct {
	module module
	file   string
}

type result struct {
	plugin Plugin
	err    error
}

// NewLoader returns a Loader that has loaded nothing.
func NewLoader() *Loader {
	return &Loader{opened: map[string]result{}, loaded: map[string]loaded{}}
}

// Open checks the plugin and loads it, from a private copy, so that the file
// can be overwritten later. One that another user than root or the running user
// could replace or change is refused: it is code, and runs with all the node's
// rights (see keys.Open). The same content is loaded once: opening it again
// gives the same Plugin, or the same error, since Go can't retry.
func (l *Loader) Open(file string) (Plugin, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	in, err := keys.Open(file)
	if err != nil {
		return Plugin{}, fmt.Errorf("open plugin %s: %w", file, err)
	}
	defer func() { _ = in.Close() }()   // was only read
	if err := Check(file); err != nil { // before anything of it is copied: it may be any file
		return Plugin{}, err
	}
	dir, err := os.MkdirTemp("", "nodeserver-plugin-")
	if err != nil {
		return Plugin{}, fmt.Errorf("copy plugin %s: %w", file, err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is mapped stays
	private := filepath.Join(dir, filepath.Base(file))
	sum, err := copyFile(in, private)
	if err != nil {
		return Plugin{}, fmt.Errorf("copy plugin %s: %w", file, err)
	}
	r, known := l.opened[sum]
	if !known {
		r = l.open(file, private)
		l.opened[sum] = r
	}
	r.plugin.File = file
	if r.err != nil {
		return r.plugin, r.err
	}
	return r.plugin.versioned()
}

// versioned is the plugin as its file's name says which version of its app it is: shop##2.so.
func (p Plugin) versioned() (Plugin, error) {
	app, version := config.SplitPlace(strings.TrimSuffix(filepath.Base(p.File), ".so"))
	if version == "" {
		return p, nil
	}
	name := p.App.Name + "##" + version
	if app != p.App.Name || !config.PlaceName(name) {
		return Plugin{}, fmt.Errorf(
			"open plugin %s: it holds the app %s: the file of a version is called %[2]s##VERSION.so, "+
				"and a version has 1 to 32 of A-Z a-z 0-9 . -",
			p.File, p.App.Name,
		)
	}
	p.App.Name = name
	return p, nil
}

func (l *Loader) open(file, private string) result {
	host, err := self()
	if err != nil {
		return result{err: fmt.Errorf("open plugin %s: %w", file, err)}
	}
	id, p, err := check(host, private)
	if err != nil {
		return result{err: renamed(err, private, file)}
	}
	if err := l.conflict(p); err != nil {
		return result{err: fmt.Errorf("open plugin %s: %w", file, err)}
	}
	app, err := Guard(openLimit, initOrWebapp, func() (webapps.App, error) { return load(private) })
	if err != nil {
		return result{err: fmt.Errorf("open plugin %s: %w", file, explainLoad(err))}
	}
	for path, m := range p.modules {
		l.loaded[path] = loaded{m, file}
	}
	return result{plugin: Plugin{Revision: id.revision, App: app}}
}

// conflict is a module that the plugin shares, not with the host, but with
// another plugin, in another version.
func (l *Loader) conflict(p binary) error {
	for _, path := range slices.Sorted(maps.Keys(p.modules)) {
		m := p.modules[path]
		other, taken := l.loaded[path]
		switch {
		case !taken || path == apiModule:
		case path == p.main:
			return fmt.Errorf(
				"this revision was loaded already, from %s, built differently: change the source, or restart the node",
				other.file,
			)
		case m != other.module:
			return fmt.Errorf(
				"it has %s %s, but %s, loaded before, has %s: require the same in both, and restart the node",
				path, m, other.file, other.module,
			)
		}
	}
	return nil
}

// renamed is a check's error with the name the operator knows.
func renamed(err error, private, file string) error {
	if m := new(MismatchError); errors.As(err, &m) {
		return &MismatchError{file, m.Differences}
	}
	return errors.New(strings.ReplaceAll(err.Error(), private, file))
}

func copyFile(in io.Reader, to string) (sum string, err error) {
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o700)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, h), in)
	return hex.EncodeToString(h.Sum(nil)), errors.Join(err, out.Close())
}

// load runs the plugin's initialisation and asks for its app.
func load(file string) (webapps.App, error) {
	p, err := plugin.Open(file)
	if err != nil {
		return webapps.App{}, err
	}
	symbol, err := p.Lookup("Webapp")
	if err != nil {
		return webapps.App{}, err
	}
	return appOf(symbol)
}

// appOf is the app behind a plugin's Webapp, if it can be served.
func appOf(symbol any) (webapps.App, error) {
	webapp, ok := symbol.(func() webapps.App)
	if !ok {
		return webapps.App{}, fmt.Errorf("its Webapp is a %T, want a func() webapps.App", symbol)
	}
	app := webapp()
	if !config.AppName(app.Name) {
		return webapps.App{}, fmt.Errorf("its app's name %q: want 1 to 64 of a-z, 0-9 and -", app.Name)
	}
	if app.New == nil {
		return webapps.App{}, fmt.Errorf("its app %s has no New", app.Name)
	}
	return app, nil
}

var differs = regexp.MustCompile(`plugin was built with a different version of package (\S+)`)

// explainLoad puts a cure to what only Go's loader can find.
func explainLoad(err error) error {
	if m := differs.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf(
			"it was built with another package %s than this node, though versions and settings are the same: %s, on this machine",
			m[1],
			rebuild,
		)
	}
	if strings.Contains(err.Error(), "failed to map segment") {
		return fmt.Errorf("%w: is %s mounted noexec? Set TMPDIR to a folder that isn't", err, os.TempDir())
	}
	return err
}
