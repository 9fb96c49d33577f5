// Package plant builds the bugs of package mutate into the core: bugs.patch has them as a
// patch to its sources, and an overlay for the go command puts the patched files in the
// place of the real ones. So a normal build has no trace of them.
//
// To add a bug, or where the sources have changed, edit bugs.patch; hunks are found by their
// text, not by their line numbers.
package plant

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

//go:embed bugs.patch
var patch string

const importPath = "github.com/nodeserver/nodeserver/deltamanager/internal/mutate"

// hunk is one change to a file.
type hunk struct{ old, changed string }

// parse reads a unified diff: hunks by file.
func parse(diff string) (files []string, hunks map[string][]hunk) {
	hunks = map[string][]hunk{}
	for line := range strings.Lines(diff) {
		if name, ok := strings.CutPrefix(line, "+++ b/"); ok {
			files = append(files, strings.TrimSpace(name))
			continue
		}
		if len(files) == 0 || strings.HasPrefix(line, "--- ") || strings.HasPrefix(line, "diff ") {
			continue
		}
		file := files[len(files)-1]
		if strings.HasPrefix(line, "@@ ") {
			hunks[file] = append(hunks[file], hunk{})
			continue
		}
		h := &hunks[file][len(hunks[file])-1]
		switch line[0] {
		case '-':
			h.old += line[1:]
		case '+':
			h.changed += line[1:]
		default:
			h.old += line[1:]
			h.changed += line[1:]
		}
	}
	return files, hunks
}

// apply makes the changes to a file's text. Each must fit at exactly one place.
func apply(text string, hunks []hunk) (string, error) {
	for i, h := range hunks {
		if n := strings.Count(text, h.old); n != 1 {
			return "", fmt.Errorf("hunk %d fits at %d places:\n%s", i+1, n, h.old)
		}
		text = strings.Replace(text, h.old, h.changed, 1)
	}
	return text, nil
}

// Overlay writes the patched files of the module in root to dir, and returns the path of
// the file that the go command takes as -overlay.
func Overlay(root, dir string) (string, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	files, hunks := parse(patch)
	for i, file := range files {
		b, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return "", err
		}
		text, err := apply(string(b), hunks[file])
		if err != nil {
			return "", fmt.Errorf("bugs.patch: %s: %w", file, err)
		}
		if strings.Contains(text, "mutate.Is(") {
			text = withImport(text)
		}
		to := filepath.Join(dir, fmt.Sprintf("%d.go", i))
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(root, file)] = to
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, b, 0o600)
}

// withImport adds the import of package mutate behind the package clause.
func withImport(text string) string {
	at := strings.Index("\n"+text, "\npackage ")
	end := at + strings.IndexByte(text[at:], '\n') + 1
	return text[:end] + "\nimport \"" + importPath + "\"\n" + text[end:]
}
