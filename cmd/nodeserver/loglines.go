package main

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"sync"
)

// keptLines is how many lines of the log the console shows.
const keptLines = 200

// lines keeps the last lines of what is written through it. Safe for concurrent use.
type lines struct {
	to io.Writer

	mu   sync.Mutex
	list []string
}

// Write implements io.Writer; loggers write whole lines.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	for line := range bytes.Lines(p) {
		l.list = append(l.list, strings.TrimRight(string(line), "\n"))
	}
	if n := len(l.list) - keptLines; n > 0 {
		l.list = slices.Delete(l.list, 0, n)
	}
	l.mu.Unlock()
	return l.to.Write(p)
}

func (l *lines) last() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}
