package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// How far a file has been sent is one line on a terminal, and nothing elsewhere.
func TestProgress(t *testing.T) {
	name := filepath.Join(t.TempDir(), "shop.so")
	if err := os.WriteFile(name, make([]byte, 2_500_000), 0o600); err != nil {
		t.Fatal(err)
	}
	open := func() *os.File {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	var out strings.Builder
	p := &progress{ReadCloser: open(), name: "shop.so", size: 2_500_000, shown: -1, to: &out}
	if n, err := io.Copy(io.Discard, p); n != 2_500_000 || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	lines := strings.Split(out.String(), "\r")
	const last = "shop.so  [==============================] 100 % of 2.5 MB\n"
	if len(lines) < 20 || lines[len(lines)-1] != last || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("%d times shown, the last %q", len(lines)-1, lines[len(lines)-1])
	}

	plain := open()
	defer func() { _ = plain.Close() }()
	to, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = to.Close() }()
	if got := withProgress(plain, to); got != io.ReadCloser(plain) {
		t.Errorf("a bar in a file: %T", got)
	}
}
