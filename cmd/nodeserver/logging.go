package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/nodeserver/nodeserver/server/config"
)

// logging is where a daemon's log goes, and from which level on.
type logging struct {
	*slog.Logger
	level *slog.LevelVar
	file  *logFile // nil: standard error
	lines *lines   // that were logged last
}

// newLogging logs as the configuration says.
func newLogging(stderr io.Writer, c config.Log) (*logging, error) {
	l := &logging{level: new(slog.LevelVar)}
	l.level.Set(c.Level.Level())
	if c.File != "" {
		l.file = &logFile{path: c.File}
		if err := l.file.reopen(); err != nil {
			return nil, err
		}
		stderr = l.file
	}
	l.lines = &lines{to: stderr}
	options := &slog.HandlerOptions{Level: l.level}
	l.Logger = slog.New(slog.NewTextHandler(l.lines, options))
	if c.Format == config.LogJSON {
		l.Logger = slog.New(slog.NewJSONHandler(l.lines, options))
	}
	return l, nil
}

// reopen goes on in a new file where the old one was renamed.
func (l *logging) reopen() error {
	if l.file == nil {
		return errors.New("the log goes to standard error: there is no log.file to open anew")
	}
	err := l.file.reopen()
	if err == nil {
		l.Info("the log's file was opened anew", "file", l.file.path)
	}
	return err
}

// logFile appends to the file of a name, each line at once.
type logFile struct {
	path string

	mu sync.Mutex
	to *os.File
}

// Write implements io.Writer.
func (f *logFile) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.to.Write(p)
}

// reopen opens the file that has the name now, and makes it if there is none. If it can't, the one
// of before goes on.
func (f *logFile) reopen() error {
	to, err := os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("log.file: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.to != nil {
		err = f.to.Close()
	}
	f.to = to
	return err
}
