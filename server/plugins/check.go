package plugins

import (
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// errNoCgo is what a binary without cgo says when asked to build or load.
var errNoCgo = errors.New("this nodeserver was built with CGO_ENABLED=0 and can't load plugins: " +
	"build it with cgo (apt-get install gcc; make build), or leave [webapps] dir empty and link the apps in")

// MismatchError says in what a plugin differs from the running binary.
type MismatchError struct {
	File        string
	Differences []string // each with its cure, one line each
}

func (e *MismatchError) Error() string {
	return "plugin " + e.File + " does not fit this node:\n  " + strings.Join(e.Differences, "\n  ")
}

// Check tells whether the running binary can load the plugin, without mapping
// it into the process. The error is a *MismatchError where both could be
// compared. It can't see a Go installation that was patched; the loader can.
func Check(file string) error {
	host, err := self()
	if err != nil {
		return err
	}
	_, _, err = check(host, file)
	return err
}

// check also returns what it read.
func check(host binary, file string) (identity, binary, error) {
	p, err := readPlugin(host, file)
	if err != nil {
		return identity{}, binary{}, fmt.Errorf("check plugin %s: %w", file, err)
	}
	id, ok := parseIdentity(p.path)
	if !ok {
		return identity{}, binary{}, fmt.Errorf(
			"check plugin %s: not built by nodeserver build, so a new revision could not be loaded beside it: "+
				"nodeserver build DIR -o FILE.so",
			file,
		)
	}
	if d := differences(host, p, id.api); len(d) > 0 {
		return identity{}, binary{}, &MismatchError{file, d}
	}
	return id, p, nil
}

func readPlugin(host binary, file string) (binary, error) {
	if !host.cgo {
		return binary{}, errNoCgo
	}
	if err := whole(file); err != nil {
		return binary{}, err
	}
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return binary{}, fmt.Errorf("not a Go plugin: %w", err)
	}
	p := newBinary(info)
	if p.mode != "plugin" {
		return binary{}, fmt.Errorf("a Go program (-buildmode=%s), not a plugin: build it with nodeserver build DIR -o FILE.so", p.mode)
	}
	return p, nil
}

// maxPlugin is the length of a file that may be a plugin: a hundred times what
// one takes that has a database in it.
const maxPlugin = 4 << 30

// whole refuses a file that ends before its sections do: mapping one kills the
// process when it touches what isn't there.
func whole(file string) error {
	stat, err := os.Stat(file)
	switch {
	case err != nil:
		return err
	case !stat.Mode().IsRegular():
		return errors.New("not a regular file")
	case stat.Size() > maxPlugin:
		return fmt.Errorf("%d bytes are over the limit of %d for a plugin", stat.Size(), maxPlugin)
	}
	f, err := elf.Open(file)
	if err != nil {
		if stat.Size() == 0 {
			return errors.New("the file is empty: copy or build it again")
		}
		return fmt.Errorf("not a plugin, or cut off (%w): copy or build it again", err)
	}
	defer func() { _ = f.Close() }()
	for _, p := range f.Progs {
		if end := p.Off + p.Filesz; end > uint64(stat.Size()) {
			return fmt.Errorf("cut off: %d bytes of at least %d: copy or build it again", stat.Size(), end)
		}
	}
	return nil
}

const rebuild = "rebuild it with this nodeserver's build DIR"

// differences compares all that makes Go's loader refuse a plugin, and the
// processor level, which makes it crash later.
func differences(host, p binary, api string) []string {
	var all []string
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if p.goVersion != host.goVersion {
		say("built by %s, this node by %s: %s", p.goVersion, host.goVersion, rebuild)
	}
	keys := maps.Clone(host.settings)
	maps.Copy(keys, p.settings)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if p.settings[k] != host.settings[k] {
			say("built %s, this node %s: %s", setting(k, p.settings[k]), setting(k, host.settings[k]), rebuild)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(p.modules)) {
		if h, both := host.modules[path]; both {
			if d := moduleDifference(path, p.modules[path], h); d != "" {
				all = append(all, d)
			}
		}
	}
	if api != host.api {
		say("built against other sources of package webapps (%s) than this node (%s): %s", api, host.api, rebuild)
	}
	return all
}

// moduleDifference is empty for the same module, and for two working trees,
// whose versions say nothing: of package webapps there is a hash.
func moduleDifference(path string, p, host module) string {
	switch {
	case p == host || p.sum == "" && host.sum == "":
		return ""
	case path == apiModule:
		return fmt.Sprintf("built against %s %s, this node is %s: %s", path, p, host, rebuild)
	case p.version == host.version:
		return fmt.Sprintf("built against another %s %s than this node's, by its checksum: %s", path, p, rebuild)
	}
	return fmt.Sprintf("built against %s %s, this node has %s: go get %s@%s in the webapp's module, then rebuild it",
		path, p, host, path, host.version)
}

func setting(key, value string) string {
	if value == "" {
		return "without " + key
	}
	return "with " + key + "=" + value
}
