package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// progress shows on a terminal how much of a file has been read: one line that is written over.
type progress struct {
	io.ReadCloser
	name  string
	size  int64
	read  int64
	shown int // per cent; -1: nothing
	to    io.Writer
}

const barWidth = 30

// withProgress is the body, shown on out while it is sent if that is a terminal and the body is a
// file.
func withProgress(body io.ReadCloser, out io.Writer) io.ReadCloser {
	f, ok := body.(*os.File)
	terminal, is := out.(*os.File)
	if !ok || !is || !term.IsTerminal(int(terminal.Fd())) {
		return body
	}
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return body
	}
	return &progress{ReadCloser: body, name: info.Name(), size: info.Size(), shown: -1, to: out}
}

// Read implements io.Reader.
func (p *progress) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	p.read += int64(n)
	if now := int(min(100, 100*p.read/p.size)); now != p.shown {
		p.shown = now
		done := barWidth * now / 100
		put(p.to, "\r%s  [%s%s] %3d %% of %s", p.name, strings.Repeat("=", done), strings.Repeat(" ", barWidth-done), now, inMB(p.size))
		if now == 100 {
			put(p.to, "\n")
		}
	}
	return n, err
}

func inMB(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }
