package sim

import (
	"slices"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate"
)

// Bugs are the bugs that can be planted in the core.
func Bugs() []mutate.Bug { return mutate.All() }

// Plant plants the bug, or with 0 none. Not while a history is played.
func Plant(b mutate.Bug) { mutate.Planted = b }

// Broken lists the invariants that were violated, sorted, each once.
func (r Result) Broken() []string {
	var out []string
	for _, v := range r.Violations {
		out = append(out, v.Invariant)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
