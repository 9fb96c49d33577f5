package membership

import "sync/atomic"

// Stats is what a provider has seen since it was made.
type Stats struct {
	Queries uint64 // rounds of asking, also those that went wrong
	Answers uint64 // addresses proposed, repeats included
	Foreign uint64 // answers of other clusters, ignored
	Refused uint64 // answers without a usable address, ignored
	Errors  uint64 // rounds that went wrong
	Noise   uint64 // packets on the multicast group that could not be read
	Problem string // what is wrong now, empty if nothing
}

// counters is the Stats being counted. Safe for concurrent use.
type counters struct {
	queries, answers, foreign, refused, errors, noise atomic.Uint64

	problem atomic.Pointer[string]
}

func (c *counters) stats() Stats {
	s := Stats{
		Queries: c.queries.Load(), Answers: c.answers.Load(), Foreign: c.foreign.Load(),
		Refused: c.refused.Load(), Errors: c.errors.Load(), Noise: c.noise.Load(),
	}
	if p := c.problem.Load(); p != nil {
		s.Problem = *p
	}
	return s
}

// report counts a round and keeps what is wrong. It tells whether that changed.
func (c *counters) report(err error) (changed bool) {
	c.queries.Add(1)
	now := ""
	if err != nil {
		c.errors.Add(1)
		now = err.Error()
	}
	was := c.problem.Swap(&now)
	return was == nil && err != nil || was != nil && *was != now
}
