package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
)

// Result is what came out of one history.
type Result struct {
	Seed       uint64
	Mix        Mix
	Hash       uint64 // of every payload and its time: the same seed and code give the same hash
	Violations []Violation
	Story      []string // with violations: the latest events of the session concerned
	Counts     Counts
}

// Run plays the history of a seed. With violations it is played once more, to
// tell the latest lines of the story of the first session concerned.
func Run(seed uint64, lines int) Result {
	r := play(seed, nil, 0)
	if len(r.Violations) > 0 {
		focus := r.Violations[0].Session
		for _, v := range r.Violations {
			if focus == (deltamanager.Key{}) {
				focus = v.Session
			}
		}
		r.Story = play(seed, &focus, lines).Story
	}
	return r
}

func play(seed uint64, focus *deltamanager.Key, lines int) Result {
	w := newWorld(seed, nil)
	bad := nemesis{w}
	if focus != nil {
		w.focus, w.story = *focus, &story{keep: lines}
	}
	for i := range w.mix.Nodes {
		w.nodes = append(w.nodes, &node{index: i, name: fmt.Sprintf("n%d", i+1)})
	}
	for i, n := range w.nodes {
		if i > 0 && w.mix.LateJoins && w.chance(0.5) {
			w.after(startup+w.between(0, w.mix.Load), func() {
				w.obs.count(LateJoins)
				bad.restart(n)
			})
			continue
		}
		w.after(w.between(0, 100*time.Millisecond), func() { bad.restart(n) })
	}
	for i := range w.mix.Clients {
		users{w}.newClient(i)
	}
	w.after(startup+500*time.Millisecond, bad.strike)
	w.runTo(w.load)
	w.runTo(w.load + patience) // requests in flight end
	bad.calmDown()
	end := judge{w}
	end.settle()
	end.check()
	return w.result()
}

func (w *world) result() Result {
	o := &w.obs
	r := Result{Seed: w.seed, Mix: w.mix, Hash: w.hash, Violations: o.violations}
	r.Counts = o.counts
	r.Counts.Simulated = w.now
	if w.story != nil {
		r.Story = w.story.last()
	}
	return r
}

func sortKeys(keys []deltamanager.Key) {
	slices.SortFunc(keys, compareKeys)
}

func compareKeys(a, b deltamanager.Key) int { return slices.Compare(a[:], b[:]) }
