package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/bench/record"
)

// sample has two rounds of three kinds.
func sample() *record.File {
	f := &record.File{
		Titles:  map[string]string{async: "nodeserver, async"},
		Missing: map[string]string{"tomcat-async": "there is no Tomcat"},
	}
	for round, v := range []float64{20, 30} {
		add := func(what, kind, work string, values map[string]float64) {
			f.Runs = append(f.Runs, record.Run{What: what, Kind: kind, Work: work, Round: round + 1, Values: values})
		}
		add("load", "plain", "raw sticky c64", map[string]float64{"cpu_us": v})
		add("load", "plain-3", "raw sticky c64", map[string]float64{"cpu_us": v * 1.5})
		add("load", "plain-3", "raw random c64", map[string]float64{"cpu_us": v * 1.6})
		add(
			"load", async, sticky,
			map[string]float64{"cpu_us": v * 1.2, "p99_ms": 3, "wire_bytes": 182, "requests": 10, "wire_member_bytes": 91},
		)
		add("load", async, random, map[string]float64{"cpu_us": v * 2, "stale": float64(round), "requests": 10})
		add("lag", async, "half load", map[string]float64{"p99_ms": 3.0001 + float64(round)/100})
		add("memory", async, "100 k", map[string]float64{"heap_bytes": 300 + 200*float64(round)})
		add("failover", async, door, map[string]float64{"errors": 0, "first_good_ms": 4})
		add("scale", async, "2", map[string]float64{"cpu_us": v})
		add("scale", async, "4", map[string]float64{"cpu_us": v * 2})
	}
	f.Runs = append(f.Runs, record.Run{What: "failover", Kind: async, Work: door, Round: 3, Error: "it broke"})
	return f
}

func TestTables(t *testing.T) {
	f := sample()
	for _, c := range []struct{ text, want string }{
		{cpu(f), "| nodeserver, async | 30 (24–36) | 1.20 | 0.800 | 50 (40–60) | 1.25 | 2 |"},
		{cpu(f), "| tomcat-async (missing) | – | – | – | – | – | – |"},
		{about(f), "- **Missing**: tomcat-async: there is no Tomcat."},
		{goals(f), "part of plain net/http in one process | ≤ 1.40 | 1.20 | 2 | yes |"},
		{goals(f), "| random node, freshness on: stale answers | 0 | 1 | 2 | **no** |"},
		{goals(f), "both directions | ≤ 90 | 91 | 2 | **no** |"},
		{goals(f), "| the same: part of Tomcat async | ≤ 0.333 | – | – | not measured |"},
		{goals(f), "| replication lag p99 at half load, ms | ≤ 3 | 3.01 (3.01–3.02) | 2 | **no** |"},
		{goals(f), "| heap per session of 100 B, 100 k sessions, B | ≤ 400 | 400 (300–500) | 2 | yes, not in every run |"},
		{goals(f), "| kill -9 through our door: errors | 0 | 0 | 2 and 1 that failed | **no** |"},
		{failover(f), "| 2 and 1 that failed |"},
		{correct(f), "| nodeserver, async | inc random | 20 | 0 | 1 | 5 |"},
	} {
		if !strings.Contains(c.text, c.want) {
			t.Errorf("there is no %q in\n%s", c.want, c.text)
		}
	}
}

func TestUpdate(t *testing.T) {
	var text strings.Builder
	for _, s := range sections() {
		text.WriteString("by hand\n<!-- bench:" + s.name + " -->\nold\n<!-- /bench:" + s.name + " -->\n")
	}
	path := filepath.Join(t.TempDir(), "x.md")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(text.String())
	for range 2 { // the second time changes nothing more
		if err := Update(path, sample()); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(got), "old") || strings.Count(string(got), "by hand") != len(sections()) ||
		strings.Count(string(got), "30 (24–36)") != 2 {
		t.Errorf("updated to\n%s", got)
	}
	for name, bad := range map[string]string{
		"no marker":      strings.Replace(text.String(), "<!-- bench:cpu -->", "", 1),
		"no end":         strings.Replace(text.String(), "<!-- /bench:scale -->", "", 1),
		"unknown marker": text.String() + "<!-- bench:colour -->\n<!-- /bench:colour -->\n",
	} {
		write(bad)
		if err := Update(path, sample()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestPlots(t *testing.T) {
	dir := t.TempDir()
	if err := Plots(dir, sample()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bench-cpu-sticky.svg", "bench-scale.svg"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(b), "CPU µs per /inc") || !strings.HasSuffix(strings.TrimSpace(string(b)), "</svg>") {
			t.Errorf("%s: %v, %d bytes", name, err, len(b))
		}
	}
}
