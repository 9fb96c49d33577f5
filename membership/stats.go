package membership

import (
	"errors"
	"log/slog"
	"sync/atomic"
)

// Stats is what a provider has seen since it was made.
type Stats struct {
	Queries uint64 // rounds of asking, also those that went wrong
	Answers uint64 // addresses proposed, repeats included
	Foreign uint64 // answers of other clusters, ignored
	Refused uint64 // answers without a usable address, ignored
	Errors  uint64 // rounds that went wrong
	Noise   uint64 // packets on the multicast group that could not be read
	Problem string // what is wrong now, empty if nothing
	Empty   bool   // the problem is that there is nobody, as far as can be known: a first node is no failure
}

// counters is the Stats being counted. Safe for concurrent use.
type counters struct {
	queries, answers, foreign, refused, errors, noise atomic.Uint64

	problem atomic.Pointer[string]
	empty   atomic.Bool
}

func (c *counters) stats() Stats {
	s := Stats{
		Queries: c.queries.Load(), Answers: c.answers.Load(), Foreign: c.foreign.Load(),
		Refused: c.refused.Load(), Errors: c.errors.Load(), Noise: c.noise.Load(),
	}
	if p := c.problem.Load(); p != nil {
		s.Problem, s.Empty = *p, *p != "" && c.empty.Load()
	}
	return s
}

// errEmpty is in the chain of a problem that is no failure of the provider: it
// knows of nobody.
var errEmpty = errors.New("so nobody is listed")

// report counts a round and keeps what is wrong, after its addresses were
// proposed. The log hears of each change once.
func (c *counters) report(err error, log *slog.Logger, provider string) {
	now := ""
	if err != nil {
		c.errors.Add(1)
		now = err.Error()
	}
	c.empty.Store(errors.Is(err, errEmpty))
	was := c.problem.Swap(&now)
	c.queries.Add(1)
	switch {
	case was == nil && err == nil, was != nil && *was == now:
	case err != nil:
		log.Warn("members can't be found this way", "provider", provider, "err", err)
	default:
		log.Info("members can be found this way again", "provider", provider)
	}
}
