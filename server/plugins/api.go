package plugins

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/nodeserver/nodeserver/webapps"
)

// hostBinary reads the binary that a plugin is for; empty is the running one.
func hostBinary(file string) (binary, error) {
	if file == "" {
		b, err := self()
		if err == nil && !b.cgo {
			err = errNoCgo
		}
		return b, err
	}
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return binary{}, fmt.Errorf("the host: %w: name a nodeserver binary", err)
	}
	b := newBinary(info)
	b.file = file
	switch _, ours := b.modules[apiModule]; {
	case !ours || b.mode == "plugin":
		return binary{}, fmt.Errorf("the host %s is %s, not a nodeserver: name a nodeserver binary", file, b.path)
	case !b.cgo:
		return binary{}, fmt.Errorf(
			"the host %s was built with CGO_ENABLED=0 and can't load plugins: build it with cgo (apt-get install gcc; make build)",
			file,
		)
	}
	return b, nil
}

// api is the host's package webapps, for a plugin to be compiled against.
type api struct {
	workspace string // folder of its module, if that is no module of the cache
	sums      string // lines of go.sum, if it is
	hash      string // of its sources
}

// findAPI looks for the sources, and compares them with what the host was built from.
func (b binary) findAPI(ctx context.Context, given string, src source, t tools, work string) (api, error) {
	if b.fromCache() {
		return b.fetchAPI(ctx, t, work)
	}
	root, err := findHostSource(given, src)
	if err != nil {
		return api{}, err
	}
	h, err := b.sameSources(root)
	return api{workspace: root, hash: h}, err
}

// fetchAPI gets the module at the version that the host was installed at.
func (b binary) fetchAPI(ctx context.Context, t tools, work string) (api, error) {
	want := b.modules[apiModule]
	cmd := t.command(ctx, "mod", "download", "-json", apiModule+"@"+want.version)
	cmd.Dir = work // where there is no go.mod
	cmd.Env = append(cmd.Env, "GOWORK=off")
	out, failed := cmd.Output()
	var got struct{ Dir, Sum, GoModSum, Error string }
	if err := json.Unmarshal(out, &got); err != nil {
		return api{}, fmt.Errorf("fetch %s@%s, which the nodeserver was built from: %w", apiModule, want.version, errors.Join(failed, err))
	}
	if got.Error != "" {
		return api{}, fmt.Errorf("fetch %s@%s, which the nodeserver was built from: %s", apiModule, want.version, got.Error)
	}
	if got.Sum != want.sum {
		return api{}, fmt.Errorf(
			"%s@%s has the checksum %s, and the nodeserver was built from one with %s: look into GOPROXY",
			apiModule, want.version, got.Sum, want.sum,
		)
	}
	h, err := webapps.HashSources(os.DirFS(filepath.Join(got.Dir, "webapps")))
	if err != nil {
		return api{}, err
	}
	sums, err := os.ReadFile(filepath.Join(got.Dir, "go.sum"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return api{}, err
	}
	own := fmt.Sprintf("%[1]s %[2]s %[3]s\n%[1]s %[2]s/go.mod %[4]s\n", apiModule, want.version, got.Sum, got.GoModSum)
	return api{sums: own + string(sums), hash: h}, nil
}

// findHostSource looks for the folder of apiModule.
func findHostSource(given string, src source) (string, error) {
	candidates := []string{given}
	if given == "" {
		exe, err := os.Executable()
		if err != nil {
			return "", err
		}
		candidates = append(src.replacements(), src.dir, ".", filepath.Dir(exe))
	}
	for _, c := range candidates {
		c, err := filepath.Abs(c)
		if err != nil {
			return "", err
		}
		root, mod, err := findModule(c)
		if err == nil && mod.Module.Mod.Path == apiModule {
			return root, nil
		}
	}
	if given != "" {
		return "", fmt.Errorf("the folder %s is not in module %s: give the one this binary was built from", given, apiModule)
	}
	return "", fmt.Errorf(
		"no sources of %s around the webapp, the working directory or the binary, nor a replace in the webapp's "+
			"go.mod: give their folder with --host-src",
		apiModule,
	)
}

// sameSources is the hash of package webapps in root, if the host was built from it. A
// binary carries the sources, and only the running one can say their hash.
func (b binary) sameSources(root string) (string, error) {
	dir := os.DirFS(filepath.Join(root, "webapps"))
	h, err := webapps.HashSources(dir)
	if err != nil {
		return "", fmt.Errorf("read the host's sources: %w", err)
	}
	if b.file == "" {
		if h != b.api {
			return "", fmt.Errorf("package webapps in %s has changed since this binary was built: run make build there first", root)
		}
		return h, nil
	}
	code, err := os.ReadFile(b.file)
	if err != nil {
		return "", err
	}
	names, err := fs.Glob(dir, "*.go")
	if err != nil {
		return "", err
	}
	for _, name := range names {
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			return "", err
		}
		if !strings.HasSuffix(name, "_test.go") && !bytes.Contains(code, text) {
			return "", fmt.Errorf("%s differs from what %s was built from: give the folder of its sources with --host-src",
				filepath.Join(root, "webapps", name), b.file)
		}
	}
	return h, nil
}
