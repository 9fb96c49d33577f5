package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nodeserver/nodeserver/bench/cluster"
	"github.com/nodeserver/nodeserver/bench/loadgen"
	"github.com/nodeserver/nodeserver/bench/record"
)

const members = 3 // of every cluster but those of the scale

// runner measures and records.
type runner struct {
	*options
	plan plan
	env  cluster.Env
	file *record.File
	kept map[string]*cluster.Cluster // kinds that are started once
	bad  map[string]int              // how often a kind did not start

	round time.Duration // how long the last took
	ended func() error  // tells that we are to end
}

func newRunner(o *options) (*runner, error) {
	p, err := o.plan()
	if err != nil {
		return nil, err
	}
	if inside() {
		if err := loopback(); err != nil {
			return nil, err
		}
	}
	env, err := o.env()
	if err != nil {
		return nil, err
	}
	f := &record.File{
		Schema: record.Schema, Command: strings.Join(append([]string{"go run ./cmd/bench"}, os.Args[1:]...), " "), Profile: p.name,
		Started: time.Now(), Machine: machine(), Versions: versions(env), Titles: map[string]string{}, Missing: map[string]string{},
	}
	if o.results == "" {
		o.results = filepath.Join(env.Source, "results", f.Started.Format("20060102-1504-")+p.name+".json")
	}
	return &runner{options: o, plan: p, env: env, file: f, kept: map[string]*cluster.Cluster{}, bad: map[string]int{}}, nil
}

// close ends what still runs.
func (r *runner) close() {
	for id := range r.kept {
		r.drop(id)
	}
	_ = os.RemoveAll(r.env.Dir) // only takes space
}

func (r *runner) drop(id string) {
	if c := r.kept[id]; c != nil {
		c.Stop()
		delete(r.kept, id)
	}
}

func (r *runner) save() error {
	r.file.Ended = time.Now()
	if err := r.file.Save(r.results); err != nil {
		return fmt.Errorf("keep the results: %w", err)
	}
	return nil
}

// measure goes through the plan, all of it in each round: what changes on the
// machine meets all alike, and there are as many runs of the last as of the first.
// What fails is noted and the rest goes on.
func (r *runner) measure(ctx context.Context) error {
	say("profile %s, results in %s", r.plan.name, r.results)
	r.ended = ctx.Err
	r.check()
	for round := 1; round <= r.plan.rounds && ctx.Err() == nil; round++ {
		if r.tooLong(round) {
			break
		}
		start := time.Now()
		for _, part := range r.parts() {
			if ctx.Err() == nil {
				say("== round %d of %d, %s", round, r.plan.rounds, part.name)
				part.do(ctx, round)
			}
		}
		if err := r.save(); err != nil {
			return err
		}
		r.round = time.Since(start)
	}
	say("done in %v", time.Since(r.file.Started).Round(time.Second))
	return context.Cause(ctx)
}

type part struct {
	name string
	do   func(ctx context.Context, round int)
}

// parts are those that are wanted.
func (r *runner) parts() []part {
	all := []part{
		{"table", r.table}, {"lag", r.lag}, {"failover", r.failover}, {"sessions", r.sessions}, {"scale", r.scale},
	}
	return slices.DeleteFunc(all, func(p part) bool {
		return r.skips(p.name) || p.name == "sessions" && r.skips("memory") && r.skips("join")
	})
}

// tooLong says whether a round would end after the time is over, if it took as
// long as the last.
func (r *runner) tooLong(round int) bool {
	end := time.Since(r.file.Started) + r.round
	if r.plan.budget == 0 || round == 1 || end < r.plan.budget {
		return false
	}
	r.note("rounds from %d of %d on left out: they would not end within %v", round, r.plan.rounds, r.plan.budget)
	return true
}

// check leaves out what can't run here, and says so.
func (r *runner) check() {
	for _, k := range cluster.Kinds() {
		r.file.Titles[k.ID] = k.Title
		if !slices.Contains(r.plan.kinds, k.ID) {
			continue
		}
		if why := k.Missing(r.env); why != "" {
			say("missing: %s: %s", k.ID, why)
			r.file.Missing[k.ID] = why
		}
	}
	there := func(list []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(id string) bool { return r.file.Missing[id] != "" })
	}
	p := &r.plan
	p.kinds, p.memory, p.join, p.fail = there(p.kinds), there(p.memory), there(p.join), there(p.fail)
}

func (r *runner) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	say("! %s", text)
	text, _, _ = strings.Cut(text, "\n")
	r.file.Notes = append(r.file.Notes, text)
}

// add records a run and says what it gave.
func (r *runner) add(run record.Run, err error, show ...string) {
	line := fmt.Sprintf("%-8s %-19s %-22s round %d ", run.What, run.Kind, run.Work, run.Round)
	if err != nil && r.ended() != nil {
		return // it failed because we end
	}
	if err != nil {
		run.Error = err.Error()
		r.note("%s: %v", strings.TrimSpace(line), err)
	} else {
		for _, name := range show {
			line += fmt.Sprintf(" %s=%.4g", name, run.Values[name])
		}
		say("%s", line)
	}
	r.file.Runs = append(r.file.Runs, run)
}

// late says whether the time is over, and notes what is left out.
func (r *runner) late(what string) bool {
	if r.plan.budget == 0 || time.Since(r.file.Started) < r.plan.budget {
		return false
	}
	r.note("%s left out: the time (%v) was over", what, r.plan.budget)
	return true
}

// get is a warm cluster of the kind: new, or the one that is kept.
func (r *runner) get(ctx context.Context, id string) (*cluster.Cluster, error) {
	if c := r.kept[id]; c != nil && c.Alive() {
		return c, nil
	}
	k, _ := cluster.Find(id)
	c, err := r.fresh(ctx, id, k.Size)
	if err == nil && k.Kept {
		r.kept[id] = c
	}
	return c, err
}

// start starts a cluster, in place of one that is kept. A kind that failed to
// start twice is missing from then on.
func (r *runner) start(ctx context.Context, id string, size int) (*cluster.Cluster, error) {
	r.drop(id)
	k, _ := cluster.Find(id)
	c, err := cluster.Start(ctx, r.env, k, size)
	if err == nil {
		return c, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if r.bad[id]++; r.bad[id] == 2 {
		text, _, _ := strings.Cut(err.Error(), "\n")
		r.file.Missing[id] = text
	}
	return nil, err
}

// fresh starts a cluster and warms it up: all code has run, and memory been used.
func (r *runner) fresh(ctx context.Context, id string, size int) (*cluster.Cluster, error) {
	c, err := r.start(ctx, id, size)
	if err != nil {
		return nil, err
	}
	if err := r.warm(ctx, c); err != nil {
		c.Stop()
		return nil, err
	}
	c.Idle = loadgen.Cores(ctx, c.PIDs(), 500*time.Millisecond)
	return c, nil
}

func (r *runner) warm(ctx context.Context, c *cluster.Cluster) error {
	op, policy, took := "inc", "sticky", c.Warm
	if c.Replicated {
		policy = "random"
	}
	if !c.Sessions {
		op = "raw"
	}
	if r.plan.name == "smoke" {
		took = min(took, 2*time.Second)
	}
	_, err := loadgen.Load(
		ctx,
		loadgen.LoadConfig{Target: c.Target(), Op: op, Policy: policy, Workers: 32, Measure: took, Drain: 3 * time.Second},
	)
	if err != nil {
		return fmt.Errorf("warm up %s: %w", c.ID, err)
	}
	return nil
}

// put ends a cluster that isn't kept.
func (r *runner) put(c *cluster.Cluster) {
	if r.kept[c.ID] != c {
		c.Stop()
	}
}
