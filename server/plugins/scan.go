package plugins

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// File is a plugin found in a folder, not yet looked into.
type File struct {
	Path string
	Info fs.FileInfo // of what a link leads to; nil: it can't be looked at
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
		switch {
		case err != nil: // a link that leads nowhere, say: opening the file tells
			all = append(all, File{Path: path})
		case info.Mode().IsRegular():
			all = append(all, File{path, info})
		}
	}
	return all, nil
}

// Opened is what became of one file: its plugin, or the reason why there is none.
type Opened struct {
	File   File // as it was before it was opened
	Plugin Plugin
	Err    error
}

// OpenDir opens every plugin in the folder, by the files' names. The error is of the
// folder alone. Two files may hold apps of one name.
func (l *Loader) OpenDir(dir string) ([]Opened, error) {
	files, err := Scan(dir)
	if err != nil {
		return nil, err
	}
	all := make([]Opened, len(files))
	for i, f := range files {
		all[i].File = f
		all[i].Plugin, all[i].Err = l.Open(f.Path)
	}
	return all, nil
}
