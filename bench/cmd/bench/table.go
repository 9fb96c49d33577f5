package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/nodeserver/nodeserver/bench/cluster"
	"github.com/nodeserver/nodeserver/bench/loadgen"
	"github.com/nodeserver/nodeserver/bench/record"
)

// table runs all works on all kinds, in each round in another order, so that what
// changes on the machine, and what a kind leaves behind it, meets all alike.
func (r *runner) table(ctx context.Context, round int) {
	for _, id := range shuffled(r.plan.kinds, round) {
		if r.file.Missing[id] != "" {
			continue
		}
		if ctx.Err() != nil || r.late(fmt.Sprintf("table of %s, round %d", id, round)) {
			return
		}
		c, err := r.get(ctx, id)
		if err != nil {
			r.add(record.Run{What: "load", Kind: id, Work: "start", Round: round}, err)
			continue
		}
		r.cells(ctx, c, round)
		r.put(c)
	}
}

// shuffled is the order of a round: drawn, but the same in every run.
func shuffled(kinds []string, round int) []string {
	order := slices.Clone(kinds)
	rand.New(rand.NewPCG(uint64(round), 0)).Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}

// cells runs all works on one cluster.
func (r *runner) cells(ctx context.Context, c *cluster.Cluster, round int) {
	var done []string
	for _, w := range r.plan.works {
		if !c.Sessions {
			w = w.raw()
		}
		if w.policy == "random" && (c.Size == 1 || c.Sessions && !c.Replicated) || slices.Contains(done, w.String()) {
			continue
		}
		done = append(done, w.String())
		run := record.Run{What: "load", Kind: c.ID, Work: w.String(), Round: round}
		var err error
		run.Values, err = r.load(ctx, c, w)
		if ctx.Err() != nil {
			return
		}
		r.add(
			run, err, "cpu_us", "rps", "p99_ms", "errors", "stale", "lost_sessions", "lost_increments",
			"diverged_sessions", "drain_ms", "other_cores",
		)
	}
}

// load runs one work, and counts what goes over the wire meanwhile.
func (r *runner) load(ctx context.Context, c *cluster.Cluster, w work) (map[string]float64, error) {
	payload := func() (n float64) {
		if strings.HasPrefix(c.ID, "nodeserver") {
			n, _ = c.Metric(ctx, "nodeserver_replication_bytes_total", `direction="out"`) // 0 is seen in the table
		}
		return n
	}
	traffic, err := c.Traffic(ctx)
	if err != nil {
		return nil, err
	}
	before := payload()
	result, err := loadgen.Load(ctx, loadgen.LoadConfig{
		Target: c.Target(), Op: w.op, Policy: w.policy, Workers: w.workers, Bytes: w.bytes,
		Warm: r.plan.warm, Measure: r.plan.measure, Patience: 2 * time.Second, Apart: !c.Replicated,
	})
	values := record.Values(result)
	if err != nil {
		return values, err
	}
	if result.Requests == 0 {
		return values, fmt.Errorf("no good answer to %d requests, the first: %s", result.Errors, result.FirstError)
	}
	after := payload()
	now, err := c.Traffic(ctx)
	all := float64(max(result.All, 1))
	others := float64(max(len(c.Target().Nodes)-1, 1))
	values["wire_bytes"] = float64(now-traffic) / all
	values["wire_member_bytes"] = float64(now-traffic) / all / others
	if after > before {
		values["payload_member_bytes"] = (after - before) / all / others
	}
	if result.Errors > 0 {
		r.note("%s, %s: %d errors, the first: %s", c.ID, w, result.Errors, result.FirstError)
	}
	return values, err
}
