// Command cmd plays histories of clusters through the replication core: see
// package sim.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/sim"
)

func main() {
	seeds := flag.Uint64("seeds", 100, "how many histories to play")
	from := flag.Uint64("from", 1, "the first one's seed")
	workers := flag.Int("workers", runtime.GOMAXPROCS(0), "how many to play at a time")
	repeat := flag.Uint64("repeat", 10, "play every n-th one twice and compare; 0: none")
	show := flag.Int("show", 3, "how many histories with violations to show")
	lines := flag.Int("lines", 50, "how much of their stories")
	mutants := flag.Bool("mutants", false, "plant one bug after the other and look for it in up to that many histories")
	bug := flag.Int("bug", 0, "plant the bug of that number, counted from 1 in the table of -mutants")
	profile := flag.String("cpuprofile", "", "write a CPU profile to that file")
	flag.Parse()
	collectSeldom()
	if (*bug > 0 || *mutants) && !sim.Built {
		fmt.Fprintln(
			os.Stderr,
			"the bugs are not built in: run make sim-mutants, or go run with the overlay that deltamanager/internal/mutate/plant/cmd makes",
		)
		os.Exit(2)
	}
	if *bug > 0 {
		sim.Plant(sim.Bugs()[*bug-1])
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err == nil {
			err = pprof.StartCPUProfile(f)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	var code int
	if *mutants {
		code = hunt(*from, *seeds, *workers)
	} else {
		code = run(*from, *seeds, *repeat, *workers, *show, *lines)
	}
	pprof.StopCPUProfile()
	os.Exit(code)
}

// collectSeldom lets garbage grow to sixteen times what lives, which in a history
// is a few MB, and all of it garbage when the history ends: with Go's usual 100 %
// a third of the time goes into collecting it. The limit is for histories that
// are larger than that. A GOGC in the environment is obeyed instead.
func collectSeldom() {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(1600)
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(1 << 30)
	}
}

// run plays the histories and prints what is wrong, and in the last line how
// much it was. It returns the exit code.
func run(from, seeds, repeat uint64, workers, show, lines int) int {
	start := time.Now()
	var next atomic.Uint64
	var mu sync.Mutex // guards what follows
	var total sim.Counts
	var bad []uint64
	kinds := map[string]int{}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < seeds; i = next.Add(1) - 1 {
				r := sim.Run(from+i, lines)
				if repeat > 0 && (from+i)%repeat == 0 {
					if again := sim.Run(from+i, lines); again.Hash != r.Hash {
						r.Violations = append(
							r.Violations,
							sim.Violation{Invariant: "determinism", Text: fmt.Sprintf("trace hash %x, then %x", r.Hash, again.Hash)},
						)
					}
				}
				mu.Lock()
				total.Add(r.Counts)
				if len(r.Violations) > 0 {
					bad = append(bad, r.Seed)
					if len(bad) <= show {
						report(r)
					}
					seen := map[string]bool{}
					for _, v := range r.Violations {
						if !seen[v.Invariant] {
							kinds[v.Invariant]++
						}
						seen[v.Invariant] = true
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	fmt.Println(total)
	if never := total.Never(); len(never) > 0 && seeds >= 100 {
		fmt.Printf("never happened: %v\n", never)
	}
	if len(bad) > 0 {
		fmt.Printf("violated, by seeds: %v; first seeds: %v\n", kinds, bad[:min(len(bad), 20)])
	}
	fmt.Printf(
		"%d seeds, %d violations, %.1f seeds/s, %v\n", seeds, len(bad),
		float64(seeds)/time.Since(start).Seconds(), time.Since(start).Round(100*time.Millisecond),
	)
	if len(bad) > 0 {
		return 1
	}
	return 0
}

func report(r sim.Result) {
	fmt.Printf("seed %d: %v\n", r.Seed, r.Mix)
	for i, v := range r.Violations {
		if i == 5 {
			fmt.Printf("  … %d more\n", len(r.Violations)-i)
			break
		}
		fmt.Printf("  %s session %v %s\n", v.Invariant, v.Session, v.Text)
	}
	fmt.Printf("  again: make sim SEEDS=1 FROM=%d\n", r.Seed)
	for _, line := range r.Story {
		fmt.Println("   ", line)
	}
}
