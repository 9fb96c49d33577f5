//go:build !race

package sim_test

import (
	"slices"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/deltamanager/sim"
)

// TestEverythingHappens: in a hundred histories, every fault, every deed of a client
// and every check does. The race detector would make it long, and has nothing to
// find, since a history is played by one goroutine; "make sim" checks the same.
func TestEverythingHappens(t *testing.T) {
	var seeds []uint64
	for seed := range uint64(100) {
		seeds = append(seeds, seed+1)
	}
	total, mixes := play(t, seeds...)
	if never := total.Never(); len(never) > 0 {
		t.Errorf("never in 100 histories: %v", never)
	}
	for _, drawn := range []struct {
		what string
		is   func(sim.Mix) bool
	}{
		{"2 nodes", func(m sim.Mix) bool { return m.Nodes == 2 }},
		{"7 nodes", func(m sim.Mix) bool { return m.Nodes == 7 }},
		{"12 clients", func(m sim.Mix) bool { return m.Clients == 12 }},
		{"loss near 30 %", func(m sim.Mix) bool { return m.Loss > 0.25 }},
		{"doubling near 50 %", func(m sim.Mix) bool { return m.Double > 0.4 }},
		{"clocks near 10 min off", func(m sim.Mix) bool { return m.Skew > 9*time.Minute }},
		{"a queue of 48", func(m sim.Mix) bool { return m.Queue == 48 }},
		{"sticky", func(m sim.Mix) bool { return m.Sticky == 1 }},
		{"not sticky", func(m sim.Mix) bool { return m.Sticky == 0 }},
		{"acks async", func(m sim.Mix) bool { return m.Acks == deltamanager.Async }},
		{"acks one", func(m sim.Mix) bool { return m.Acks == deltamanager.One }},
		{"acks majority", func(m sim.Mix) bool { return m.Acks == deltamanager.Majority }},
		{"acks all", func(m sim.Mix) bool { return m.Acks == deltamanager.All }},
	} {
		if !slices.ContainsFunc(mixes, drawn.is) {
			t.Errorf("%s: in none of 100 histories", drawn.what)
		}
	}
}
