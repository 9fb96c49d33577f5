package deploy

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/membership"
)

func testCatalog(t *testing.T, dir, self string) *catalog {
	t.Helper()
	c, err := openCatalog(filepath.Join(dir, "catalog.json"), self, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func build(n int) Build { return Build{Hash: fmt.Sprintf("%064x", n), Version: fmt.Sprint(n)} }

// Nodes write at both sides of splits and hear of each other in any order, also twice: in the end
// all hold the same, which is what was written last to who knew of what was written before, and it
// is there after a restart.
func TestCatalogsConverge(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var dirs []string
		var nodes []*catalog
		for _, name := range []string{"n1", "n2", "n3"} {
			dirs = append(dirs, t.TempDir())
			nodes = append(nodes, testCatalog(t, dirs[len(dirs)-1], name))
		}
		tell := func(from, to *catalog) {
			if err := to.merge(from.list(), membership.ID{Name: from.self}); err != nil {
				t.Fatal(err)
			}
		}
		last := 0
		for i := range 30 {
			a, b := nodes[rnd.IntN(3)], nodes[rnd.IntN(3)]
			if rnd.IntN(2) == 0 {
				tell(a, b)
				continue
			}
			last = i + 1
			if _, err := a.write("shop", build(last), false, "ann", 3); err != nil {
				t.Fatal(err)
			}
		}
		for _, from := range nodes {
			for _, to := range nodes {
				tell(from, to)
				tell(from, to)
			}
		}
		for _, n := range nodes {
			tell(nodes[2], n)
		}
		final, err := nodes[0].write("shop", build(99), true, "ann", 3)
		if err != nil {
			t.Fatal(err)
		}
		tell(nodes[0], nodes[1])
		tell(nodes[1], nodes[2])
		for i, dir := range dirs {
			nodes[i] = testCatalog(t, dir, nodes[i].self)
			got, want := fmt.Sprint(nodes[i].list()), fmt.Sprint(nodes[0].list())
			if e, _ := nodes[i].entry("shop"); e.Build != final.Build || !e.Stopped || got != want {
				t.Fatalf("%s holds %s, n1 %s", nodes[i].self, got, want)
			}
			if e, _ := nodes[i].entry("shop"); last > 0 && (len(e.History) == 0 || len(e.History) > 2) {
				t.Errorf("%d builds before are kept", len(e.History))
			}
		}
	}
}

// What a member may not say is refused: its texts become names of files.
func TestCatalogRefuses(t *testing.T) {
	c := testCatalog(t, t.TempDir(), "n1")
	for _, e := range []Entry{
		{App: "../shop", Build: build(1)},
		{App: "shop", Build: Build{Hash: "../../etc/passwd"}},
		{App: "shop", Build: Build{Hash: strings.Repeat("A", 64)}},
	} {
		b, err := json.Marshal([]Entry{e})
		if err != nil {
			t.Fatal(err)
		}
		c.Receive(membership.ID{Name: "n2"}, 0, b)
		if err := c.merge([]Entry{e}, membership.ID{}); err == nil || len(c.list()) != 0 {
			t.Errorf("%+v was taken: %v", e, err)
		}
	}
}
