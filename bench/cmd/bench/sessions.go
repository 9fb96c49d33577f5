package main

import (
	"context"
	"errors"
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

// sessions fills clusters, and measures what sessions take and how an empty node
// gets them.
func (r *runner) sessions(ctx context.Context, round int) {
	for _, n := range append([]int{0}, r.plan.sizes...) { // 0: how long the start alone takes
		kinds := slices.DeleteFunc(slices.Clone(r.plan.kinds), func(id string) bool {
			return !r.wantsMemory(id, n) && !r.wantsJoin(id) || n > 100_000 && !ours(id)
		})
		r.each(ctx, "sessions, "+size(n), round, kinds, func(ctx context.Context, id string) { r.filled(ctx, id, n, round) })
	}
}

func (r *runner) wantsMemory(id string, n int) bool {
	return n > 0 && slices.Contains(r.plan.memory, id) && !r.skips("memory")
}

func (r *runner) wantsJoin(id string) bool {
	return slices.Contains(r.plan.join, id) && !r.skips("join")
}

// filled does both with one cluster.
func (r *runner) filled(ctx context.Context, id string, n, round int) {
	run := record.Run{What: "memory", Kind: id, Work: size(n), Round: round}
	c, err := r.start(ctx, id, members)
	if err == nil {
		defer c.Stop()
		run.Values, err = r.memory(ctx, c, n)
	}
	if err != nil || r.wantsMemory(id, n) {
		r.add(
			run, err, "heap_bytes", "rss_bytes", "rss_warm_bytes", "fill_s", "cpu_us", "gc_pauses",
			"gc_pause_p99_ms", "gc_half_pause_p99_ms", "errors",
		)
	}
	for _, work := range []string{"", " under load"} {
		if !r.wantsJoin(id) || work != "" && !ours(id) {
			continue
		}
		run := record.Run{What: "join", Kind: id, Work: size(n) + work, Round: round}
		if err == nil {
			run.Values, err = r.join(ctx, c, work != "")
		}
		r.add(run, err, "first_answer_ms", "count_at_first_answer", "complete_ms", "p99_before_ms", "p99_during_ms", "load_errors")
	}
}

// memory fills a cluster that was just started, and says how it grew.
func (r *runner) memory(ctx context.Context, c *cluster.Cluster, n int) (map[string]float64, error) {
	cold, err := c.Memory(ctx)
	if err == nil {
		err = r.warm(ctx, c)
	}
	if err != nil || n == 0 {
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
	if c.Replicated && !strings.HasSuffix(c.ID, "-redis") {
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
	if r.wantsMemory(c.ID, n) && ours(c.ID) {
		err = errors.Join(r.pauses(ctx, c, n, 0, "gc_", values), r.pauses(ctx, c, n, r.half(ctx, c), "gc_half_", values))
	}
	return values, err
}

// pauses loads the filled cluster, with so many requests a second (0: all that
// it can serve), lets the collectors run meanwhile, and looks how long all of a
// node stood still.
func (r *runner) pauses(ctx context.Context, c *cluster.Cluster, n int, rate float64, prefix string, values map[string]float64) error {
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
		cfg := loadgen.LoadConfig{
			Target:  c.Target(),
			Op:      lead.op,
			Policy:  lead.policy,
			Workers: lead.workers,
			Rate:    rate,
			Measure: time.Minute,
		}
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
	values[prefix+"pauses"] = float64(len(all))
	if len(all) > 0 {
		values[prefix+"pause_p99_ms"] = all[min(len(all)*99/100, len(all)-1)].Seconds() * 1000
		values[prefix+"pause_max_ms"] = all[len(all)-1].Seconds() * 1000
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

// join ends a node and starts it again, empty: how long until it holds all
// sessions, and what users of the others notice.
func (r *runner) join(ctx context.Context, c *cluster.Cluster, load bool) (map[string]float64, error) {
	const last = members - 1
	c.EndNode(last)
	want, err := loadgen.Count(c.Target(), 0)
	if err != nil {
		return nil, err
	}
	live := loadgen.LoadConfig{
		Target: loadgen.Target{Nodes: c.Target().Nodes}, Op: "inc", Policy: "sticky", Workers: 16,
		Warm: 300 * time.Millisecond, Measure: 2 * time.Second,
	}
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
		Target: c.One(last), Start: func() error { return c.StartNode(last) }, Want: want, Limit: 2 * time.Minute,
	})
	stop()
	wait.Wait()
	values := record.Values(result)
	if load {
		values["p99_before_ms"], values["p99_during_ms"] = before.P99, during.P99
		values["load_errors"], values["load_rps"] = float64(during.Errors), during.RPS
	}
	if during.Errors > 0 {
		r.note("join of %d under load, %s: %d errors, the first: %s", want, c.ID, during.Errors, during.FirstError)
	}
	return values, err
}
