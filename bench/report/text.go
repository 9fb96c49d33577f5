package report

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/nodeserver/nodeserver/bench/record"
)

// section is a table, or other text, by name.
type section struct {
	name string
	make func(*record.File) string
}

func sections() []section {
	return []section{
		{"about", about},
		{"goals", goals},
		{"cpu", cpu},
		{"ratios", ratios},
		{"works", works},
		{"speed", speed},
		{"correct", correct},
		{"wire", wire},
		{"memory", memory},
		{"join", join},
		{"lag", lag},
		{"failover", failover},
		{"scale", scale},
	}
}

// Print prints all sections.
func Print(w io.Writer, f *record.File) error {
	for _, s := range sections() {
		if _, err := fmt.Fprintf(w, "\n## %s\n\n%s", s.name, s.make(f)); err != nil {
			return err
		}
	}
	return nil
}

// Update puts the sections between the markers of a Markdown file.
func Update(path string, f *record.File) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text := string(b)
	for _, s := range sections() {
		if text, err = replace(text, s.name, s.make(f)); err != nil {
			return fmt.Errorf("update %s: %w", path, err)
		}
	}
	if strings.Count(text, "<!-- bench:") != len(sections()) {
		return fmt.Errorf("update %s: it has a marker that names no section", path)
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// replace puts a section between its markers.
func replace(text, name, body string) (string, error) {
	begin, end := "<!-- bench:"+name+" -->\n", "<!-- /bench:"+name+" -->"
	before, rest, ok := strings.Cut(text, begin)
	if !ok {
		return text, fmt.Errorf("there is no line %q", strings.TrimSpace(begin))
	}
	_, after, ok := strings.Cut(rest, end)
	if !ok {
		return text, fmt.Errorf("there is no line %q after its beginning", end)
	}
	return before + begin + "\n" + body + "\n" + end + after, nil
}

// table is a Markdown table.
type table struct{ text strings.Builder }

func newTable(columns ...string) *table {
	t := &table{}
	t.row(columns...)
	t.text.WriteString("| --- |" + strings.Repeat(" ---: |", len(columns)-1) + "\n")
	return t
}

func (t *table) row(cells ...string) {
	for i, c := range cells {
		if c == "" {
			cells[i] = "–"
		}
	}
	t.text.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

func (t *table) String() string { return t.text.String() }

// spread is a median with its range; empty where there is none.
func spread(s record.Spread) string {
	switch {
	case s.N == 0:
		return ""
	case s.Min == s.Max:
		return number(s.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", number(s.Median), number(s.Min), number(s.Max))
}

// number shows as many digits as mean something.
func number(v float64) string {
	a := max(v, -v)
	digits := 3
	switch {
	case v == float64(int64(v)), a >= 100:
		digits = 0
	case a >= 10:
		digits = 1
	case a >= 1:
		digits = 2
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

// runs is the number of runs of a spread, "n = 5".
func runs(s record.Spread) string {
	if s.N == 0 {
		return ""
	}
	return strconv.Itoa(s.N)
}
