package plugins

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

// listed is what go list says of one package of a webapp.
type listed struct {
	ImportPath, Dir, Name string
	Standard              bool
	Module                *listedModule
	Imports               []string

	GoFiles, CgoFiles, SFiles, HFiles, EmbedFiles []string
	CFiles, CXXFiles, MFiles, FFiles              []string
	SwigFiles, SwigCXXFiles, SysoFiles            []string
	Error                                         *listError
}

type listedModule struct {
	Path, Version, GoVersion string
	Main                     bool
	Replace                  *listedModule
	Dir                      string
}

type listError struct {
	Pos, Err    string
	ImportStack []string
}

const listFields = "ImportPath,Dir,Name,Standard,Module,Imports,GoFiles,CgoFiles,SFiles,HFiles,EmbedFiles," +
	"CFiles,CXXFiles,MFiles,FFiles,SwigFiles,SwigCXXFiles,SysoFiles,Error"

// files are the names of all files that the package is built from, sorted.
func (l *listed) files() []string {
	all := slices.Concat(l.GoFiles, l.CgoFiles, l.SFiles, l.HFiles, l.EmbedFiles,
		l.CFiles, l.CXXFiles, l.MFiles, l.FFiles, l.SysoFiles)
	slices.Sort(all)
	return slices.Compact(all)
}

// list asks the go command which packages the webapp is made of, in the versions that
// its own go.mod asks for. What a package imports comes before it.
func (s source) list(ctx context.Context, host binary, t tools, work string) ([]*listed, error) {
	args, env := host.flags()
	args = append([]string{"list", "-e", "-deps", "-json=" + listFields, "-mod=readonly", "-buildvcs=false"}, args...)
	if !s.inHost {
		mod, err := s.listModule(work)
		if err != nil {
			return nil, err
		}
		args = append(args, "-modfile="+mod)
	}
	cmd := t.command(ctx, append(args, ".")...)
	cmd.Dir = s.dir
	cmd.Env = append(cmd.Env, append(env, "GOWORK=off")...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return nil, explain(said.String(), err, strings.NewReplacer(work+string(filepath.Separator), ""))
	}
	var all []*listed
	var bad []error
	for d := json.NewDecoder(&out); ; {
		l := new(listed)
		if err := d.Decode(l); errors.Is(err, io.EOF) {
			return all, errors.Join(bad...)
		} else if err != nil {
			return nil, fmt.Errorf("read what go list says: %w", err)
		}
		if err := s.refused(l); err != nil {
			bad = append(bad, err)
		}
		all = append(all, l)
	}
}

// refused is why the webapp can't have the package, if so.
func (s source) refused(l *listed) error {
	_, ours := below(l.ImportPath, apiModule)
	if _, own := below(l.ImportPath, s.modPath); ours && !own && l.ImportPath != apiPath {
		at := ""
		if l.Error != nil && l.Error.Pos != "" {
			at = l.Error.Pos + ": "
		}
		return fmt.Errorf("%simports %s: of nodeserver's packages a webapp can import %s only (its tests webappstest, too)",
			at, l.ImportPath, apiPath)
	}
	if l.Error == nil {
		return nil
	}
	if l.Error.Pos != "" {
		return fmt.Errorf("%s: %s", l.Error.Pos, l.Error.Err)
	}
	return errors.New(l.Error.Err)
}

// listModule writes a go.mod that asks for what the webapp's does, except for the
// host: in its place is an empty package webapps, which imports nothing. So the
// host's requirements can't raise a version.
func (s source) listModule(work string) (file string, err error) {
	dir := filepath.Join(work, "list")
	stub := filepath.Join(dir, "api")
	text, err := s.modFile.Format()
	if err != nil {
		return "", err
	}
	f, err := modfile.Parse("go.mod", text, nil) // a copy
	if err != nil {
		return "", err
	}
	for _, r := range f.Replace {
		if r.Old.Path == apiModule {
			_ = f.DropReplace(r.Old.Path, r.Old.Version) // never fails
		}
	}
	err = errors.Join(f.AddRequire(apiModule, "v0.0.0"), f.AddReplace(apiModule, "", stub, ""))
	if err != nil {
		return "", err
	}
	f.Cleanup()
	if text, err = f.Format(); err != nil {
		return "", err
	}
	file = filepath.Join(dir, "go.mod")
	err = errors.Join(
		writeFile(file, text), copySums(s.goSum, filepath.Join(dir, "go.sum"), ""),
		writeFile(filepath.Join(stub, "go.mod"), []byte("module "+apiModule+"\n")),
		writeFile(filepath.Join(stub, "webapps", "webapps.go"), []byte("package webapps\n")),
	)
	return file, err
}

// copySums copies a go.sum, if there is one, and adds lines.
func copySums(from, to, more string) error {
	sums, err := os.ReadFile(from)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return writeFile(to, append(sums, more...))
}

// below is what of path comes after root, if root is it or above it.
func below(path, root string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, root)
	return rest, ok && (rest == "" || rest[0] == '/')
}
