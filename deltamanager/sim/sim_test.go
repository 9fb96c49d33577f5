package sim_test

import (
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate"
	"github.com/nodeserver/nodeserver/deltamanager/sim"
)

// play plays histories and reports every violation with its story.
func play(t *testing.T, from, n uint64) (total sim.Counts) {
	t.Helper()
	for seed := from; seed < from+n; seed++ {
		r := sim.Run(seed, 50)
		total.Add(r.Counts)
		for _, v := range r.Violations {
			t.Errorf("seed %d: %s: session %v: %s", seed, v.Invariant, v.Session, v.Text)
		}
		if len(r.Violations) > 0 {
			t.Fatalf("again: make sim SEEDS=1 FROM=%d\n%v\n%s", seed, r.Mix, strings.Join(r.Story, "\n"))
		}
	}
	return total
}

// TestHistories plays some histories; "make sim" plays many.
func TestHistories(t *testing.T) {
	total := play(t, 1, 12)
	if total.Splits == 0 || total.Crashes == 0 || total.Pauses == 0 || total.Overflows == 0 || total.Lost == 0 || total.Logouts == 0 || total.Stale == 0 {
		t.Errorf("some faults never happened: %v", total)
	}
}

// TestFound plays again what once was violated: see docs/RELIABILITY.md.
func TestFound(t *testing.T) {
	for _, seed := range []uint64{8, 11, 22, 37, 59, 89, 119, 123, 175, 291, 377, 574, 916, 2001, 5043, 5068, 10385, 10794, 51162, 60528} {
		play(t, seed, 1)
	}
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

// TestPlantedBugIsFound plants the bug that shows fastest; "make sim-mutants" plants all.
func TestPlantedBugIsFound(t *testing.T) {
	sim.Plant(mutate.MergeByArrival)
	defer sim.Plant(mutate.None)
	for seed := uint64(1); seed <= 20; seed++ {
		if r := sim.Run(seed, 50); len(r.Violations) > 0 {
			if len(r.Story) == 0 {
				t.Errorf("seed %d: a violation without a story", seed)
			}
			return
		}
	}
	t.Errorf("last-arrival-wins passes for convergence in 20 histories")
}

func BenchmarkHistory(b *testing.B) {
	seed := uint64(5000)
	for b.Loop() {
		seed++
		sim.Run(seed, 0)
	}
}
