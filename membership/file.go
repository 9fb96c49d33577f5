package membership

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"
)

const (
	fileLook = 2 * time.Second // between two looks at the file
	maxFile  = 1 << 20         // bytes
)

// File is the provider of addresses in a file that the operator keeps up to date: one host:port per
// line; # starts a comment, and empty lines don't count.
type File struct {
	path  string
	log   *slog.Logger
	count counters

	seen os.FileInfo // of the latest file without a mistake; Run's goroutine only
	list []string    // the addresses in that file
}

var _ Provider = (*File)(nil)

// NewFile returns a provider that reads path once it runs.
func NewFile(path string, log *slog.Logger) *File { return &File{path: path, log: log} }

// Name is "file".
func (f *File) Name() string { return "file" }

// Stats is safe for concurrent use. A file that became unreadable or malformed is a Problem; until
// it is correct again, the addresses stay as they were.
func (f *File) Stats() Stats { return f.count.stats() }

// Run reads the file at once and again when its time, size or inode changes, looking every 2 s, and
// proposes its addresses each time it looks. It returns an error if the file can't be used at the
// start, nil when ctx ended.
func (f *File) Run(ctx context.Context, found func(Candidate)) error {
	if err := f.look(); err != nil {
		return err
	}
	every(ctx, fileLook, func() {
		err := f.look()
		propose(f.list, &f.count, found)
		f.count.report(err, f.log, f.Name())
	})
	return nil
}

// look reads the file if it has changed. A file with a mistake is ignored as a whole: half a list
// could split the cluster.
func (f *File) look() error {
	now, err := os.Stat(f.path)
	if err != nil {
		return fmt.Errorf("membership.file: %w", err)
	}
	if f.seen != nil && os.SameFile(now, f.seen) && now.ModTime().Equal(f.seen.ModTime()) && now.Size() == f.seen.Size() {
		return nil
	}
	if now.Size() > maxFile {
		return fmt.Errorf("membership.file %s: %d bytes, at most %d are read", f.path, now.Size(), maxFile)
	}
	text, err := os.ReadFile(f.path)
	if err != nil {
		return fmt.Errorf("membership.file: %w", err)
	}
	list, err := parseFile(f.path, text)
	if err != nil {
		return err
	}
	f.seen, f.list = now, list
	return nil
}

// parseFile reads the addresses; the error has a line for each that is wrong.
func parseFile(path string, text []byte) ([]string, error) {
	var list []string
	var wrong []error
	n := 0
	for line := range bytes.Lines(text) {
		n++
		line, _, _ = bytes.Cut(line, []byte("#"))
		a := string(bytes.TrimSpace(line))
		if a == "" {
			continue
		}
		if err := CheckAddress(a); err != nil {
			wrong = append(wrong, fmt.Errorf("%s:%d: %w", path, n, err))
			continue
		}
		list = append(list, a)
	}
	return list, errors.Join(wrong...)
}
