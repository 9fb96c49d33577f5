package sim_test

import (
	"bytes"
	"errors"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate"
	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate/plant"
	"github.com/nodeserver/nodeserver/deltamanager/sim"
)

// play plays histories, as many at a time as there are processors, and reports
// every violation with its story.
func play(t *testing.T, seeds ...uint64) (total sim.Counts, mixes []sim.Mix) {
	t.Helper()
	var mu sync.Mutex // guards what is returned
	var all sync.WaitGroup
	turns := make(chan bool, runtime.GOMAXPROCS(0))
	for _, seed := range seeds {
		turns <- true
		all.Go(func() {
			defer func() { <-turns }()
			r := sim.Run(seed, 50)
			mu.Lock()
			defer mu.Unlock()
			total.Add(r.Counts)
			mixes = append(mixes, r.Mix)
			for _, v := range r.Violations {
				t.Errorf("seed %d: %s: session %v: %s", seed, v.Invariant, v.Session, v.Text)
			}
			if len(r.Violations) > 0 {
				t.Errorf("again: make sim SEEDS=1 FROM=%d\n%v\n%s", seed, r.Mix, strings.Join(r.Story, "\n"))
			}
		})
	}
	all.Wait()
	return total, mixes
}

// TestHistories plays some histories; "make sim" plays many.
func TestHistories(t *testing.T) {
	play(t, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
}

func TestSameSeedSameHistory(t *testing.T) {
	for seed := uint64(10); seed <= 30; seed += 10 {
		if a, b := sim.Run(seed, 0).Hash, sim.Run(seed, 0).Hash; a != b {
			t.Errorf("seed %d: trace hash %x, then %x", seed, a, b)
		}
	}
	if sim.Run(1, 0).Hash == sim.Run(2, 0).Hash {
		t.Errorf("two seeds have one history")
	}
}

// TestPlantedBugIsFound builds the bugs in and plants the one that shows fastest; "make
// sim-mutants" plants all.
func TestPlantedBugIsFound(t *testing.T) {
	overlay, err := plant.Overlay("../..", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	bug := strconv.Itoa(slices.Index(sim.Bugs(), mutate.MergeByArrival) + 1)
	out, err := exec.CommandContext(t.Context(), "go", "run", "-overlay", overlay, "./cmd", "-bug", bug, "-seeds", "20", "-show", "1").
		CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !bytes.Contains(out, []byte("violated, by seeds")) {
		t.Errorf("last-arrival-wins passes for convergence in 20 histories: %v\n%s", err, out)
	}
	if len(bytes.Split(out, []byte("\n"))) < 20 {
		t.Errorf("a violation without a story:\n%s", out)
	}
}

func BenchmarkHistory(b *testing.B) {
	seed := uint64(5000)
	for b.Loop() {
		seed++
		sim.Run(seed, 0)
	}
}
