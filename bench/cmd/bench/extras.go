package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/bench/cluster"
	"github.com/nodeserver/nodeserver/bench/loadgen"
	"github.com/nodeserver/nodeserver/bench/record"
)

// attribute is the size of what a session holds where sessions are counted.
const attribute = 100

func ours(id string) bool { return strings.HasPrefix(id, "nodeserver") }

// each does something for each kind that is in this round.
func (r *runner) each(ctx context.Context, what string, round int, kinds []string, do func(ctx context.Context, id string)) {
	for _, id := range kinds {
		if r.file.Missing[id] != "" || !ours(id) && round > r.plan.others {
			continue
		}
		if ctx.Err() != nil || r.late(fmt.Sprintf("%s of %s, round %d", what, id, round)) {
			return
		}
		do(ctx, id)
	}
}

// lag measures how far the copies are behind while the cluster does half of what
// it can.
func (r *runner) lag(ctx context.Context, round int) {
	var kinds []string
	for _, id := range r.plan.kinds {
		if k, _ := cluster.Find(
			id,
		); k.Replicated && !strings.HasSuffix(id, "-redis") && !strings.HasSuffix(id, "-nofresh") &&
			!strings.HasSuffix(id, "-tls") {
			kinds = append(kinds, id)
		}
	}
	r.each(ctx, "lag", round, kinds, func(ctx context.Context, id string) {
		run := record.Run{What: "lag", Kind: id, Work: "half load", Round: round}
		var err error
		run.Values, err = r.lagOnce(ctx, id)
		r.add(run, err, "p50_ms", "p99_ms", "max_ms", "never", "background_rps")
	})
}

func (r *runner) lagOnce(ctx context.Context, id string) (map[string]float64, error) {
	c, err := r.get(ctx, id)
	if err != nil {
		return nil, err
	}
	defer r.put(c)
	rate := r.half(ctx, c)
	var background loadgen.LoadResult
	busy, stop := context.WithCancel(ctx)
	var wait sync.WaitGroup
	wait.Go(func() {
		background, _ = loadgen.Load(busy, loadgen.LoadConfig{ // ended on purpose
			Target: loadgen.Target{
				Nodes: c.Target().Nodes,
			},
			Op:      lead.op,
			Policy:  lead.policy,
			Workers: lead.workers,
			Rate:    rate,
			Measure: time.Minute,
		})
	})
	result, err := loadgen.Lag(ctx, loadgen.LagConfig{Target: c.Target(), Writes: r.plan.writes, Think: time.Millisecond})
	stop()
	wait.Wait()
	values := record.Values(result)
	values["background_rps"], values["wanted_rps"] = background.RPS, rate
	return values, err
}

// half is half the rate that the cluster reaches with the lead work: as measured
// in the table, or now.
func (r *runner) half(ctx context.Context, c *cluster.Cluster) float64 {
	if s := r.file.Of("load", c.ID, lead.String(), "rps"); s.N > 0 {
		return s.Median / 2
	}
	result, err := loadgen.Load(
		ctx,
		loadgen.LoadConfig{Target: c.Target(), Op: lead.op, Policy: lead.policy, Workers: lead.workers, Measure: time.Second},
	)
	if err != nil {
		return 1000
	}
	return result.RPS / 2
}

// failover kills a node with signal 9 in the middle of a load.
func (r *runner) failover(ctx context.Context, round int) {
	for _, way := range []string{"direct", "balancer"} {
		r.each(ctx, "failover, "+way, round, r.plan.fail, func(ctx context.Context, id string) {
			if way == "balancer" && !ours(id) {
				return
			}
			run := record.Run{What: "failover", Kind: id, Work: way, Round: round}
			var err error
			run.Values, err = r.failoverOnce(ctx, id, way)
			r.add(
				run, err, "first_good_ms", "all_good_ms", "longest_gap_ms", "slowest_ms", "errors",
				"lost_sessions", "lost_increments", "workers_stuck",
			)
		})
	}
}

func (r *runner) failoverOnce(ctx context.Context, id, way string) (map[string]float64, error) {
	c, err := r.fresh(ctx, id, members)
	if err != nil {
		return nil, err
	}
	defer c.Stop()
	rate := r.half(ctx, c)
	target := c.Target()
	if way == "balancer" {
		door, err := c.OpenDoor(ctx)
		if err != nil {
			return nil, err
		}
		target.Nodes = []string{door}
		rate /= 2 // the door takes its share of the machine
	}
	half := 1500 * time.Millisecond
	if id == "nats-kv" {
		half = 10 * time.Second // to see the end of an election
	}
	result, err := loadgen.Failover(ctx, loadgen.FailoverConfig{
		Target: target, Workers: 32, Sessions: 10, Rate: rate, Half: half, Victim: c.Name(0),
		Kill: func() error { return c.KillNode(0) },
	})
	if result.FirstError != "" {
		say("  first error a user saw: %s", result.FirstError)
	}
	if err == nil && result.FirstGood == 0 {
		err = errors.New("nobody whom the killed node had served got an answer elsewhere")
	}
	return record.Values(result), err
}

// scale measures the cost per request of larger clusters.
func (r *runner) scale(ctx context.Context, round int) {
	for _, n := range r.plan.members {
		r.each(ctx, fmt.Sprintf("scale, %d members,", n), round, r.plan.scale, func(ctx context.Context, id string) {
			run := record.Run{What: "scale", Kind: id, Work: fmt.Sprint(n), Round: round}
			c, err := r.fresh(ctx, id, n)
			if err == nil {
				run.Values, err = r.load(ctx, c, lead)
				c.Stop()
			}
			r.add(run, err, "cpu_us", "rps", "payload_member_bytes", "diverged_sessions")
		})
	}
}
