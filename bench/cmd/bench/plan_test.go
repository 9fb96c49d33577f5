package main

import (
	"slices"
	"testing"

	"github.com/nodeserver/nodeserver/bench/cluster"
)

// What a plan names must exist, and our lead figure must be in every table.
func TestPlans(t *testing.T) {
	for _, p := range []plan{quickPlan(), fullPlan(), smokePlan()} {
		for _, list := range [][]string{p.kinds, p.memory, p.join, p.fail, p.scale} {
			for _, id := range list {
				if _, ok := cluster.Find(id); !ok || !slices.Contains(p.kinds, id) {
					t.Errorf("%s: %q is no kind of the table", p.name, id)
				}
			}
		}
		if !slices.Contains(p.works, lead) {
			t.Errorf("%s: does not run %q", p.name, lead)
		}
		if p.name != "smoke" && p.rounds < 5 {
			t.Errorf("%s: %d rounds", p.name, p.rounds)
		}
	}
}

// In a few rounds no kind may always run after the same one.
func TestOrderChanges(t *testing.T) {
	kinds := quickPlan().kinds
	before := map[string]map[string]bool{}
	for round := 1; round <= quickPlan().rounds; round++ {
		order := shuffled(kinds, round)
		if sorted := slices.Sorted(slices.Values(order)); !slices.Equal(sorted, slices.Sorted(slices.Values(kinds))) {
			t.Fatalf("round %d: %v", round, order)
		}
		for i, id := range order[1:] {
			if before[id] == nil {
				before[id] = map[string]bool{}
			}
			before[id][order[i]] = true
		}
	}
	for _, id := range kinds {
		if len(before[id]) < 3 {
			t.Errorf("%s runs after %v only", id, before[id])
		}
	}
}

func TestFlags(t *testing.T) {
	o, err := parseFlags()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change func(*options)
		good   bool
	}{
		{func(*options) {}, true},
		{func(o *options) { o.full = true; o.only = "plain,nodeserver-async" }, true},
		{func(o *options) { o.only = "plane" }, false},
		{func(o *options) { o.sizes = "1000,100000" }, true},
		{func(o *options) { o.sizes = "many" }, false},
	} {
		changed := *o
		c.change(&changed)
		if _, err := changed.plan(); (err == nil) != c.good {
			t.Errorf("%+v: %v", changed, err)
		}
	}
}
