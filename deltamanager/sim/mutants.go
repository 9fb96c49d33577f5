package sim

import (
	"slices"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate"
)

// Bugs are the bugs that can be planted in the core, where they are built in.
func Bugs() []mutate.Bug { return mutate.All() }

// Built tells whether they are built in, as they are by an overlay only.
const Built = mutate.Built

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
