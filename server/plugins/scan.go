package plugins

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// File is a plugin found in a folder, not yet looked into.
type File struct {
	Path    string
	Bytes   int64
	ModTime time.Time
}

// Scan lists the files NAME.so in the folder, by name.
func Scan(dir string) ([]File, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for webapps in %s: no such folder: run make webapps, create it, or set webapps.dir", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("look for webapps in %s: %w", dir, err)
	}
	var all []File
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".so" {
			continue
		}
		path := filepath.Join(dir, e.Name())
		info, err := os.Stat(path) // follows links
		if err != nil {
			return nil, fmt.Errorf("look for webapps in %s: %w", dir, err)
		}
		if info.Mode().IsRegular() {
			all = append(all, File{path, info.Size(), info.ModTime()})
		}
	}
	return all, nil
}

// OpenDir opens every plugin in the folder. The error joins what is wrong with
// each; the plugins that could be loaded are returned with it.
func (l *Loader) OpenDir(dir string) ([]Plugin, error) {
	files, err := Scan(dir)
	if err != nil {
		return nil, err
	}
	var (
		all  []Plugin
		errs []error
	)
	from := map[string]string{} // file by app name
	for _, f := range files {
		p, err := l.Open(f.Path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if first, taken := from[p.App.Name]; taken {
			errs = append(errs, fmt.Errorf("two plugins hold an app named %s: %s and %s: remove one", p.App.Name, first, f.Path))
			continue
		}
		from[p.App.Name] = f.Path
		all = append(all, p)
	}
	return all, errors.Join(errs...)
}
