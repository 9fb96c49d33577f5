package plugins

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/mod/modfile"
)

// source is where a webapp's package lies.
type source struct {
	dir     string // the package, absolute
	root    string // of what is staged: the module, or dir within the host's own module
	modPath string // import path of root
	modFile *modfile.File
	goSum   string // file, may not exist
	name    string // base name of dir, fit for an import path
	inHost  bool   // a sample: the module is the host's
}

var notName = regexp.MustCompile(`[^a-z0-9]+`)

// findSource looks for the module that holds dir.
func findSource(dir string) (source, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return source{}, err
	}
	stat, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return source{}, errors.New("no such folder: name the one that holds func Webapp")
	case err != nil:
		return source{}, err
	case !stat.IsDir():
		return source{}, fmt.Errorf("%s is a file: name the folder it lies in, %s", filepath.Base(dir), filepath.Dir(dir))
	}
	if files, err := filepath.Glob(filepath.Join(dir, "*.go")); err != nil || len(files) == 0 {
		return source{}, errors.New("no Go files in the folder: name the one that holds func Webapp")
	}
	root, mod, err := findModule(dir)
	if err != nil {
		return source{}, err
	}
	s := source{dir: dir, root: root, modPath: mod.Module.Mod.Path, modFile: mod, goSum: filepath.Join(root, "go.sum")}
	s.name = strings.Trim(notName.ReplaceAllString(strings.ToLower(filepath.Base(dir)), "-"), "-")
	if s.modPath == apiModule { // only the sample: the rest is the host, and shared
		rel, err := filepath.Rel(root, dir)
		if err != nil {
			return source{}, err
		}
		s.inHost = true
		s.root, s.modPath = dir, path.Join(s.modPath, filepath.ToSlash(rel))
		s.modFile, s.goSum = ownModule(mod), ""
	}
	return s, nil
}

// ownModule is the go.mod of a sample staged on its own: it needs nothing that
// the host, its neighbour in the workspace, doesn't bring.
func ownModule(host *modfile.File) *modfile.File {
	f := new(modfile.File)
	if host.Go != nil {
		_ = f.AddGoStmt(host.Go.Version) // valid where it came from
	}
	return f
}

// ModuleRoot is the folder of what a build of the webapp in dir reads: of its module or, for a
// sample of the host's module, dir.
func ModuleRoot(dir string) (string, error) {
	s, err := findSource(dir)
	return s.root, err
}

// findModule is the nearest go.mod in dir or above it.
func findModule(dir string) (root string, mod *modfile.File, err error) {
	for root = dir; ; root = filepath.Dir(root) {
		name := filepath.Join(root, "go.mod")
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			if root == filepath.Dir(root) {
				return "", nil, errors.New("no go.mod here or above: run go mod init in the webapp's folder")
			}
			continue
		}
		if err != nil {
			return "", nil, err
		}
		mod, err = modfile.Parse(name, text, nil)
		if err == nil && mod.Module == nil {
			err = fmt.Errorf("%s names no module", name)
		}
		return root, mod, err
	}
}

// replacements are the folders that the webapp's go.mod names for the host.
func (s source) replacements() []string {
	var dirs []string
	for _, r := range s.modFile.Replace {
		if r.Old.Path == apiModule && r.New.Version == "" {
			dirs = append(dirs, absolute(s.root, r.New.Path))
		}
	}
	return dirs
}

func absolute(root, dir string) string {
	if dir = filepath.FromSlash(dir); filepath.IsAbs(dir) {
		return dir
	}
	return filepath.Join(root, dir)
}

// files are what a build may need, by slash-separated path below root: tests,
// plugins, repositories and other modules are left out.
func (s source) files() ([]string, error) {
	var all []string
	err := filepath.WalkDir(s.root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != s.root && (d.Name() == ".git" || d.Name() == "vendor" || isModule(name)) {
				return fs.SkipDir
			}
			return nil
		}
		ext := filepath.Ext(name)
		if !d.Type().IsRegular() || ext == ".so" || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(s.root, name)
		all = append(all, filepath.ToSlash(rel))
		return err
	})
	return all, err
}

func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// staged is a copy of a webapp's source as a module whose path says which
// revision it is.
type staged struct {
	dir      string // of the module
	modPath  string
	revision string
	names    []string // of the files
	texts    [][]byte
}

// read reads the source, and returns a hash of it.
func (s source) read() (staged, string, error) {
	names, err := s.files()
	if err != nil {
		return staged{}, "", err
	}
	st := staged{names: names, texts: make([][]byte, len(names))}
	h := sha256.New()
	for i, name := range names {
		if st.texts[i], err = os.ReadFile(filepath.Join(s.root, filepath.FromSlash(name))); err != nil {
			return staged{}, "", err
		}
		note(h, name, st.texts[i])
	}
	return st, sum(h), nil
}

// stage writes the source to dir and renames its module, and the libraries that it
// imports. Packages of another revision so have other paths, and both fit into one process.
func (s source) stage(st *staged, dir, app string, w *world, host binary, sums string) error {
	st.dir, st.revision = dir, w.revision(app)
	st.modPath = identity{s.name, st.revision, host.api}.modulePath()
	rename := func(path string) string {
		if rest, own := below(path, s.modPath); own {
			return st.modPath + rest
		}
		return w.rename(path)
	}
	for i, name := range st.names {
		inApp := filepath.Join(s.root, filepath.FromSlash(path.Dir(name))) == s.dir
		text := rewritten(name, st.texts[i], rename, inApp)
		if err := writeFile(filepath.Join(dir, filepath.FromSlash(name)), text); err != nil {
			return err
		}
	}
	for _, l := range w.ownPkgs {
		if len(l.CgoFiles) == 0 {
			continue
		}
		rel, err := filepath.Rel(s.root, l.Dir)
		if err != nil {
			return err
		}
		pkg := l.Name
		if l.Dir == s.dir && pkg == "main" {
			pkg = "webapp"
		}
		if err := writeFile(filepath.Join(dir, rel, hiddenFile), hidden(pkg)); err != nil {
			return err
		}
	}
	if err := s.stageModule(*st, w, host, sums); err != nil {
		return err
	}
	return s.stageMain(*st)
}

// note adds a file to a hash, whose Write never fails.
func note(h hash.Hash, name string, text []byte) {
	_, _ = fmt.Fprintf(h, "%s %d\n%s", name, len(text), text)
}

// stageModule writes go.mod and go.sum. Only modules of packages that keep their path
// are required, and of those only the ones that the host lacks: it brings the others, in
// its versions.
func (s source) stageModule(st staged, w *world, host binary, sums string) error {
	f := new(modfile.File)
	err := errors.Join(f.AddModuleStmt(st.modPath), f.AddGoStmt(s.language()))
	for _, l := range w.all {
		if l.pinned == "" || l.Module == nil {
			continue
		}
		if _, has := host.modules[l.Module.Path]; has {
			continue
		}
		err = errors.Join(err, f.AddRequire(l.Module.Path, l.Module.Version))
		if r := l.Module.Replace; r != nil && r.Version == "" {
			err = errors.Join(err, f.AddReplace(l.Module.Path, "", absolute(s.root, r.Path), ""))
		} else if r != nil {
			err = errors.Join(err, f.AddReplace(l.Module.Path, "", r.Path, r.Version))
		}
	}
	if host.fromCache() {
		err = errors.Join(err, f.AddRequire(apiModule, host.modules[apiModule].version))
	}
	if err != nil {
		return err
	}
	f.Cleanup()
	text, err := f.Format()
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(st.dir, "go.mod"), text); err != nil {
		return err
	}
	return copySums(s.goSum, filepath.Join(st.dir, "go.sum"), sums)
}

// language is the Go version that the webapp is compiled as.
func (s source) language() string {
	if s.modFile.Go != nil {
		return s.modFile.Go.Version
	}
	return "1.16" // what a go.mod that doesn't say it means
}

// stageMain writes the plugin's main package. It also proves, at compile time,
// that Webapp is there and has the right type.
func (s source) stageMain(st staged) error {
	rel, err := filepath.Rel(s.root, s.dir)
	if err != nil {
		return err
	}
	text := fmt.Sprintf(`package main

import (
	app %q
	"%s"
)

// Webapp is what the node looks up.
func Webapp() webapps.App { return app.Webapp() }
`, path.Join(st.modPath, filepath.ToSlash(rel)), apiPath)
	return writeFile(filepath.Join(st.dir, mainPackage, "main.go"), []byte(text))
}

func writeFile(name string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	return os.WriteFile(name, text, 0o600)
}
