package membership

import (
	"errors"
	"log/slog"
	"sync/atomic"
)

// Stats counts the work of a provider since it was made.
type Stats struct {
	Queries uint64 // rounds of asking, failed ones included
	Answers uint64 // addresses proposed, repeats included
	Foreign uint64 // answers of other clusters, ignored
	Refused uint64 // answers without a usable address, ignored
	Errors  uint64 // rounds that failed
	Noise   uint64 // packets on the multicast group that could not be read
	Problem string // in plain words, empty if there is none
	Empty   bool   // the problem is only that no address is known, which is no failure for a first node
}

// counters counts for Stats. It is safe for concurrent use.
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

// errEmpty is wrapped by a problem that is no failure of the provider: the provider knows no
// address.
var errEmpty = errors.New("so no member is listed")

// report counts a round and keeps its problem, after the round's addresses were proposed. Each
// change is logged once.
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
		log.Warn("the provider can't find members", "event", "finding", "provider", provider, "err", err)
	default:
		log.Info("the provider can find members again", "event", "found", "provider", provider)
	}
}
