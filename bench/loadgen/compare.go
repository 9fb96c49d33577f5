package loadgen

import (
	"context"
	"time"
)

// Copies says how the nodes' copies of the sessions look once all is quiet.
type Copies struct {
	Sessions       int     `json:"sessions"`
	Acked          int     `json:"acked"`             // increments that were answered
	Diverged       int     `json:"diverged_sessions"` // whose copies differ
	Missing        int     `json:"missing_copies"`
	Behind         int     `json:"max_behind"` // increments, worst copy against best
	LostIncrements int     `json:"lost_increments"`
	LostPct        float64 `json:"lost_pct"` // of the acknowledged
}

// compare reads every session at every node, again and again while copies differ
// and patience lasts.
func compare(ctx context.Context, t Target, patience time.Duration, all []*session) Copies {
	c := newClient(t)
	defer c.close()
	start := time.Now()
	for {
		copies := look(c, t, all)
		if copies.Diverged == 0 || time.Since(start) >= patience || ctx.Err() != nil {
			return copies
		}
		pause(ctx, 250*time.Millisecond)
	}
}

func look(c *client, t Target, all []*session) (sum Copies) {
	for _, s := range all {
		if s.acked == 0 {
			continue
		}
		best, worst, missing := copiesOf(c, t, s)
		sum.Sessions++
		sum.Acked += s.acked
		sum.Missing += missing
		sum.Diverged += number(best != worst)
		sum.Behind = max(sum.Behind, best-worst)
		sum.LostIncrements += max(0, s.acked-best)
	}
	sum.LostPct = 100 * float64(sum.LostIncrements) / float64(max(sum.Acked, 1))
	return sum
}

// copiesOf is the highest and the lowest count of the session's copies; one that
// is missing counts as 0.
func copiesOf(c *client, t Target, s *session) (best, worst, missing int) {
	worst = 1 << 40
	for node := range t.Nodes {
		n := 0
		bare := s.jar.bare()
		if body, err := c.get(node, t.Base+"/get", &bare, true); err == nil {
			if r, err := parse(body); err == nil {
				n = r.n
			}
		}
		if n <= 0 {
			n = 0
			missing++
		}
		best, worst = max(best, n), min(worst, n)
	}
	return best, worst, missing
}
