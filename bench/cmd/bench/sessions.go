package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/bench/cluster"
	"github.com/nodeserver/nodeserver/bench/loadgen"
	"github.com/nodeserver/nodeserver/bench/record"
)

// size names a number of sessions in results.
func size(n int) string {
	if n >= 1_000_000 {
		return fmt.Sprintf("%d M", n/1_000_000)
	}
	return fmt.Sprintf("%d k", n/1000)
}

// memory measures what sessions take.
func (r *runner) memory(ctx context.Context, round int) {
	for _, n := range r.plan.sizes {
		kinds := r.plan.memory
		if n > 100_000 {
			kinds = slices.DeleteFunc(slices.Clone(kinds), func(id string) bool { return !ours(id) })
		}
		r.each(ctx, "memory, "+size(n), round, kinds, func(ctx context.Context, id string) {
			run := record.Run{What: "memory", Kind: id, Work: size(n), Round: round}
			var err error
			run.Values, err = r.memoryOnce(ctx, id, n)
			r.add(run, err, "heap_bytes", "rss_bytes", "rss_warm_bytes", "node_rss_mib", "fill_s", "cpu_us", "gc_pause_p99_ms", "errors")
		})
	}
}

func (r *runner) memoryOnce(ctx context.Context, id string, n int) (map[string]float64, error) {
	c, err := r.start(ctx, id, members, 0)
	if err != nil {
		return nil, err
	}
	defer c.Stop()
	cold, err := c.Memory(ctx)
	if err == nil {
		err = r.warm(ctx, c)
	}
	if err != nil {
		return nil, err
	}
	before, err := c.Memory(ctx)
	if err != nil {
		return nil, err
	}
	result, err := r.fill(ctx, c, n)
	values := record.Values(result)
	if err != nil {
		return values, err
	}
	after, err := c.Memory(ctx)
	if err != nil {
		return values, err
	}
	copies := 1
	if c.Replicated && !strings.HasSuffix(id, "-redis") {
		copies = members
	}
	// Per session and copy, and per session with all its copies. A process that
	// was used before has memory to spare, so what it grows by is less than what
	// one grows by that was just started.
	values["heap_bytes"] = float64(after.Heap-before.Heap) / float64(n*copies)
	values["rss_bytes"] = float64(after.RSS-cold.RSS) / float64(n*copies)
	values["rss_warm_bytes"] = float64(after.RSS-before.RSS) / float64(n*copies)
	values["all_rss_bytes"] = float64(after.RSS-cold.RSS) / float64(n)
	values["node_rss_mib"] = float64(after.RSS) / members / (1 << 20)
	values["copies"] = float64(copies)
	if ours(id) {
		err = r.pauses(ctx, c, n, values)
	}
	return values, err
}

// pauses loads the filled cluster, lets the collectors run meanwhile, and looks
// how long all of a node stood still.
func (r *runner) pauses(ctx context.Context, c *cluster.Cluster, n int, values map[string]float64) error {
	took := 3 * time.Second
	if n > 100_000 {
		took = 10 * time.Second
	}
	var first [members]int
	for i := range first {
		var err error
		if _, first[i], err = c.Pauses(ctx, i, 0); err != nil {
			return err
		}
	}
	busy, stop := context.WithTimeout(ctx, took)
	defer stop()
	var wait sync.WaitGroup
	wait.Go(func() {
		cfg := loadgen.LoadConfig{Target: c.Target(), Op: lead.op, Policy: lead.policy, Workers: lead.workers, Measure: time.Minute}
		_, _ = loadgen.Load(busy, cfg) // ended on purpose
	})
	for i := 0; busy.Err() == nil; i++ {
		if err := c.Collect(busy, i%members); err != nil && busy.Err() == nil {
			return err
		}
	}
	wait.Wait()
	var all []time.Duration
	for i := range members {
		p, _, err := c.Pauses(ctx, i, first[i])
		if err != nil {
			return err
		}
		all = append(all, p...)
	}
	slices.Sort(all)
	values["gc_pauses"] = float64(len(all))
	if len(all) > 0 {
		values["gc_pause_p99_ms"] = all[min(len(all)*99/100, len(all)-1)].Seconds() * 1000
		values["gc_pause_max_ms"] = all[len(all)-1].Seconds() * 1000
	}
	return nil
}

func (r *runner) fill(ctx context.Context, c *cluster.Cluster, n int) (loadgen.FillResult, error) {
	cfg := loadgen.FillConfig{Target: c.Target(), N: n, Bytes: attribute, Workers: 12}
	if c.Bulk {
		cfg.Bulk = min(1000, n)
	}
	result, err := loadgen.Fill(ctx, cfg)
	if err == nil && result.Errors > 0 {
		err = fmt.Errorf("%d of the requests that make sessions failed, the first: %s", result.Errors, result.FirstError)
	}
	return result, err
}

// join measures how long an empty node takes to hold all sessions, and what users
// of the others notice.
func (r *runner) join(ctx context.Context, round int) {
	for _, n := range append([]int{0}, r.plan.sizes...) { // 0: how long the start alone takes
		kinds := r.plan.join
		if n > 100_000 {
			kinds = slices.DeleteFunc(slices.Clone(kinds), func(id string) bool { return !ours(id) })
		}
		r.each(ctx, "join, "+size(n), round, kinds, func(ctx context.Context, id string) {
			for _, work := range []string{"", " under load"} {
				if work != "" && !ours(id) || ctx.Err() != nil {
					continue
				}
				run := record.Run{What: "join", Kind: id, Work: size(n) + work, Round: round}
				var err error
				run.Values, err = r.joinOnce(ctx, id, n, work != "")
				r.add(run, err, "first_answer_ms", "count_at_first_answer", "complete_ms", "p99_before_ms", "p99_during_ms", "load_errors")
			}
		})
	}
}

func (r *runner) joinOnce(ctx context.Context, id string, n int, load bool) (map[string]float64, error) {
	c, err := r.fresh(ctx, id, members, 1)
	if err != nil {
		return nil, err
	}
	defer c.Stop()
	if _, err := r.fill(ctx, c, n); err != nil {
		return nil, err
	}
	want, err := loadgen.Count(c.Target(), 0)
	if err != nil {
		return nil, err
	}
	live := loadgen.LoadConfig{Target: c.Target(), Op: "inc", Policy: "sticky", Workers: 16, Warm: 300 * time.Millisecond, Measure: 2 * time.Second}
	live.PIDs = nil
	var before, during loadgen.LoadResult
	if load {
		live.Rate = r.half(ctx, c) / 2
		if before, err = loadgen.Load(ctx, live); err != nil {
			return nil, err
		}
	}
	var wait sync.WaitGroup
	busy, stop := context.WithCancel(ctx)
	defer stop()
	if load {
		live.Measure = time.Minute
		wait.Go(func() { during, _ = loadgen.Load(busy, live) }) // ended on purpose
		timer := time.NewTimer(live.Warm)
		<-timer.C
	}
	result, err := loadgen.Join(ctx, loadgen.JoinConfig{
		Target: c.One(members - 1), Start: func() error { return c.StartNode(members - 1) }, Want: want, Limit: 2 * time.Minute,
	})
	stop()
	wait.Wait()
	values := record.Values(result)
	if load {
		values["p99_before_ms"], values["p99_during_ms"] = before.P99, during.P99
		values["load_errors"], values["load_rps"] = float64(during.Errors), during.RPS
	}
	return values, err
}
