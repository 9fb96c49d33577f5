package dev

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle gathers the events of one save.
const settle = 100 * time.Millisecond

// watch tells of changes below root until ctx ends. Changes that come together, or while nobody
// listens, are told of once.
func watch(ctx context.Context, root string) (<-chan struct{}, error) {
	w, err := fsnotify.NewWatcher()
	if err == nil {
		if err = addAll(w, root); err != nil {
			_ = w.Close() // of no use any more
		}
	}
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", root, err)
	}
	changed := make(chan struct{}, 1)
	go func() {
		defer func() { _ = w.Close() }() // nothing is lost
		quiet := time.NewTimer(0)
		<-quiet.C
		for {
			select {
			case <-ctx.Done():
				return
			case e := <-w.Events:
				if e.Op == fsnotify.Chmod || ignored(e.Name) {
					continue
				}
				if stat, err := os.Stat(e.Name); err == nil && stat.IsDir() {
					_ = addAll(w, e.Name) // it may be gone again
				}
				quiet.Reset(settle)
			case <-w.Errors: //nolint:errcheck // whatever it is, events are missing: look
				quiet.Reset(settle)
			case <-quiet.C:
				select {
				case changed <- struct{}{}:
				default:
				}
			}
		}
	}()
	return changed, nil
}

// addAll watches dir and the folders below it.
func addAll(w *fsnotify.Watcher, dir string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || !d.IsDir():
			return err
		case name != dir && ignored(name):
			return fs.SkipDir
		}
		return w.Add(name)
	})
}

// ignored are files that no build reads: hidden ones, editors' copies, plugins, tests.
func ignored(name string) bool {
	base := filepath.Base(name)
	return strings.HasPrefix(base, ".") || strings.HasSuffix(base, "~") || strings.HasSuffix(base, ".so") ||
		strings.HasSuffix(base, "_test.go") || base == "node_modules" || base == "vendor"
}
