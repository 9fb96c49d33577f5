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

// Counts say what happened, to show that faults were not just promised.
type Counts struct {
	Simulated                              time.Duration
	Payloads, Lost                         int
	Requests, Commits, Created, Logouts    int
	Unanswered, Refused, Stale, Missing    int
	Splits, Crashes, Pauses, Slows, Drains int
	Asks, Overflows, Repairs, Resends      int64
}

// Add adds b to c.
func (c *Counts) Add(b Counts) {
	c.Simulated += b.Simulated
	for _, x := range [...]struct {
		to *int
		by int
	}{
		{&c.Payloads, b.Payloads},
		{&c.Lost, b.Lost},
		{&c.Requests, b.Requests},
		{&c.Commits, b.Commits},
		{&c.Created, b.Created},
		{&c.Logouts, b.Logouts},
		{&c.Unanswered, b.Unanswered},
		{&c.Refused, b.Refused},
		{&c.Stale, b.Stale},
		{&c.Missing, b.Missing},
		{&c.Splits, b.Splits},
		{&c.Crashes, b.Crashes},
		{&c.Pauses, b.Pauses},
		{&c.Slows, b.Slows},
		{&c.Drains, b.Drains},
	} {
		*x.to += x.by
	}
	c.Asks += b.Asks
	c.Overflows += b.Overflows
	c.Repairs += b.Repairs
	c.Resends += b.Resends
}

// String is the counts in one line.
func (c Counts) String() string {
	return fmt.Sprintf("%.1f h simulated, %d requests, %d commits, %d sessions, %d logouts, %d payloads (%d lost), %d splits, %d crashes, %d pauses, %d slow, %d drains; "+
		"%d overflows, %d repairs, %d resends, %d asks, %d stale, %d unanswered, %d refused, %d missing",
		c.Simulated.Hours(), c.Requests, c.Commits, c.Created, c.Logouts, c.Payloads, c.Lost, c.Splits, c.Crashes, c.Pauses, c.Slows, c.Drains,
		c.Overflows, c.Repairs, c.Resends, c.Asks, c.Stale, c.Unanswered, c.Refused, c.Missing)
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
	if focus != nil {
		w.focus, w.story = *focus, &story{keep: lines}
	}
	for i := range w.mix.Nodes {
		w.nodes = append(w.nodes, &node{index: i, name: fmt.Sprintf("n%d", i+1)})
	}
	for i, n := range w.nodes {
		if i > 0 && w.mix.LateJoins && w.chance(0.5) {
			w.after(startup+w.between(0, w.mix.Load), func() { w.restart(n) })
			continue
		}
		w.after(w.between(0, 100*time.Millisecond), func() { w.restart(n) })
	}
	for i := range w.mix.Clients {
		w.newClient(i)
	}
	w.after(startup+500*time.Millisecond, w.nemesis)
	w.runTo(w.load)
	w.runTo(w.load + patience) // requests in flight end
	w.calmDown()
	w.settle()
	w.check()
	return w.result()
}

func (w *world) result() Result {
	o := &w.obs
	r := Result{Seed: w.seed, Mix: w.mix, Hash: w.hash, Violations: o.violations}
	r.Counts = Counts{
		Simulated: w.now, Payloads: o.payloads, Lost: o.lost, Requests: o.requests, Commits: o.commits, Created: o.created, Logouts: o.logouts,
		Unanswered: o.unanswered, Refused: o.refused, Stale: o.stale, Missing: o.missing,
		Splits: o.splits, Crashes: o.crashes, Pauses: o.pauses, Slows: o.slows, Drains: o.drains,
		Asks: o.asks, Overflows: o.overflows, Repairs: o.repairs, Resends: o.resends,
	}
	if w.story != nil {
		r.Story = w.story.last()
	}
	return r
}

func sortKeys(keys []deltamanager.Key) {
	slices.SortFunc(keys, compareKeys)
}

func compareKeys(a, b deltamanager.Key) int { return slices.Compare(a[:], b[:]) }
