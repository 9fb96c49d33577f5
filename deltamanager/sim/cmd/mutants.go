package main

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nodeserver/nodeserver/deltamanager/sim"
)

// batch is how many histories are played between two looks at what they found.
const batch = 20

// hunt plants each bug in turn and plays histories until one shows it. It prints
// a table and returns the exit code.
func hunt(from, seeds uint64, workers int) int {
	missed := 0
	fmt.Printf("| planted bug | found by seed | violates |\n|---|---|---|\n")
	for _, b := range sim.Bugs() {
		sim.Plant(b)
		seed, broken, found := look(from, seeds, workers)
		sim.Plant(0)
		if !found {
			missed++
			fmt.Printf("| %v | not in %d | |\n", b, seeds)
			continue
		}
		fmt.Printf("| %v | %d | %s |\n", b, seed, strings.Join(broken, " "))
	}
	fmt.Printf("%d bugs, %d not found in %d seeds\n", len(sim.Bugs()), missed, seeds)
	if missed > 0 {
		return 1
	}
	return 0
}

// look plays histories until one is bad, and returns the first of its batch.
func look(from, seeds uint64, workers int) (seed uint64, broken []string, found bool) {
	for at := from; at < from+seeds && !found; at += batch {
		results := make([][]string, batch)
		var next atomic.Uint64
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for i := next.Add(1) - 1; i < batch; i = next.Add(1) - 1 {
					results[i] = sim.Run(at+i, 0).Broken()
				}
			})
		}
		wg.Wait()
		for i, r := range results {
			if len(r) > 0 && !found {
				seed, broken, found = at+uint64(i), r, true
			}
		}
	}
	return seed, broken, found
}
