package plugins

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// sources are the names of the files that a copy of the package needs, sorted. For one
// with C code these are all that lie in its folder, since a C file may include any of them.
func (l *library) sources() ([]string, error) {
	built := l.files()
	if len(l.CgoFiles) == 0 {
		return built, nil
	}
	all := built
	err := filepath.WalkDir(l.Dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != l.Dir && (isModule(name) || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case !d.Type().IsRegular() || filepath.Ext(name) == ".go" || d.Name() == "go.mod" || strings.HasPrefix(d.Name(), "."):
			return nil
		case filepath.Dir(name) == l.Dir && cSource(name): // or it is in built, or for another platform
			return nil
		}
		rel, err := filepath.Rel(l.Dir, name)
		all = append(all, filepath.ToSlash(rel))
		return err
	})
	slices.Sort(all)
	return slices.Compact(all), err
}

// cSource tells whether the go command compiles the file if it lies in the package's folder.
func cSource(name string) bool {
	switch filepath.Ext(name) {
	case ".c", ".cc", ".cpp", ".cxx", ".m", ".f", ".F", ".for", ".f90", ".s", ".S", ".sx", ".syso":
		return true
	}
	return false
}

// cacheFolder is where copies of packages lie. They outlive a build so that the go
// command finds them unchanged, and takes their compiled code from its own cache.
func cacheFolder() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a folder for copies of packages: %w: set XDG_CACHE_HOME", err)
	}
	return filepath.Join(dir, "nodeserver", "lib"), nil
}

// copyLibraries makes the copies that the cache lacks, and returns the folders of the
// modules they lie in. Builds at the same time share the cache.
func (w *world) copyLibraries(cache string) (modules []string, err error) {
	for _, lang := range w.languages() {
		dir := filepath.Join(cache, lang)
		text := "module " + libraries + "/" + lang + "\n\ngo " + strings.TrimPrefix(lang, "go") + "\n"
		if err := writeOnce(filepath.Join(dir, "go.mod"), []byte(text)); err != nil {
			return nil, err
		}
		modules = append(modules, dir)
	}
	for _, l := range w.all {
		if l.pinned != "" {
			continue
		}
		if err := w.copyLibrary(l, cache); err != nil {
			return nil, fmt.Errorf("copy package %s: %w", l.ImportPath, err)
		}
	}
	return modules, nil
}

func (w *world) copyLibrary(l *library, cache string) error {
	lang := w.languageOf(l)
	rel, err := filepath.Rel(libraries+"/"+lang+"/"+l.hash, w.path(l))
	if err != nil {
		return err
	}
	names, err := l.sources()
	if err != nil {
		return err
	}
	to := filepath.Join(cache, lang, l.hash)
	if complete(filepath.Join(to, rel), names) {
		return nil
	}
	fresh, err := os.MkdirTemp(cache, "fresh-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(fresh) }()
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(l.Dir, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(fresh, rel, filepath.FromSlash(name)), rewritten(name, text, w.rename, false)); err != nil {
			return err
		}
	}
	if len(l.CgoFiles) > 0 {
		if err := writeFile(filepath.Join(fresh, rel, hiddenFile), hidden(l.Name)); err != nil {
			return err
		}
	}
	if err := os.Rename(fresh, to); err == nil || complete(filepath.Join(to, rel), names) {
		return nil // another build was first
	}
	return errors.Join(os.RemoveAll(to), os.Rename(fresh, to)) // files were lost
}

// rewritten is a source file as a library or the app has it in the plugin.
func rewritten(name string, text []byte, rename func(path string) string, inApp bool) []byte {
	switch filepath.Ext(name) {
	case ".go":
		return rewrite(text, rename, inApp)
	case ".s", ".S":
		return rewriteAsm(text, rename)
	}
	return text
}

// complete tells whether all files are there.
func complete(dir string, names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name)))
		return err != nil
	})
}

// writeOnce leaves a file alone that has this text, and never shows a part of it.
func writeOnce(name string, text []byte) error {
	if there, err := os.ReadFile(name); err == nil && string(there) == string(text) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".fresh-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // already gone if all went well
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// hiddenFile is added to a package with C code. The loader looks for C symbols in all
// that is in the process, so that one library's C code would call another version's.
const hiddenFile = "nodeserver_hidden.go"

func hidden(name string) []byte {
	return []byte("package " + name + `

// #cgo CFLAGS: -fvisibility=hidden
// #cgo CXXFLAGS: -fvisibility=hidden
import "C"
`)
}
