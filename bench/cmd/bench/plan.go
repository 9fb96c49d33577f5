package main

import (
	"fmt"
	"time"
)

// work is what the load generator does in one cell of the table.
type work struct {
	op      string
	policy  string
	workers int
	bytes   int
}

// String names the work in results.
func (w work) String() string {
	name := w.op
	if w.bytes > 0 {
		name += fmt.Sprintf(" %d B", w.bytes)
	}
	return fmt.Sprintf("%s %s c%d", name, w.policy, w.workers)
}

// raw is the work without a session that costs the client the same.
func (w work) raw() work { return work{"raw", w.policy, w.workers, 0} }

// lead is the work that most figures are about.
var lead = work{"inc", "sticky", 64, 0}

// plan is how much of everything is done.
type plan struct {
	name    string
	rounds  int // of everything
	others  int // of what follows the table, of kinds that aren't ours
	warm    time.Duration
	measure time.Duration
	budget  time.Duration // no round that would end after it, and nothing else then; 0: no limit
	kinds   []string
	works   []work
	memory  []string // kinds
	join    []string
	sizes   []int // sessions, of nodeserver
	scale   []string
	members []int // of the scale
	writes  int   // whose lag is measured
	fail    []string
}

func quickPlan() plan {
	return plan{
		name: "quick", rounds: 5, others: 1,
		warm: time.Second, measure: 1200 * time.Millisecond, budget: 14 * time.Minute, writes: 600,
		kinds: []string{
			"plain", "plain-3", "scs-mem", "scs-redis", "gorilla-redis", "nats-kv", "tomcat-async", "tomcat-sync",
			"nodeserver-async", "nodeserver-all", "nodeserver-nofresh", "nodeserver-tls",
		},
		works:   []work{lead, {"inc", "random", 64, 0}},
		memory:  []string{"nodeserver-async", "scs-mem", "scs-redis"},
		join:    []string{"nodeserver-async"},
		sizes:   []int{100_000},
		scale:   []string{"nodeserver-async"},
		members: []int{2, 4, 8, 16},
		fail:    []string{"nodeserver-async"},
	}
}

func fullPlan() plan {
	p := quickPlan()
	p.name, p.others, p.budget, p.writes = "full", 3, 0, 1000
	p.measure = 2 * time.Second
	p.kinds = append(p.kinds, "nodeserver-all-tls")
	p.works = []work{
		{"raw", "sticky", 64, 0},
		lead,
		{"inc", "random", 64, 0},
		{"inc", "sticky", 16, 0},
		{"inc", "random", 16, 0},
		{"inc", "sticky", 1, 0},
		{"inc", "random", 1, 0},
		{"get", "sticky", 64, 100},
		{"get", "random", 64, 100},
		{"set", "sticky", 16, 100},
		{"set", "sticky", 16, 4 << 10},
		{"set", "sticky", 16, 64 << 10},
	}
	p.memory = []string{"nodeserver-async", "scs-mem", "scs-redis", "gorilla-redis", "nats-kv", "tomcat-async"}
	p.join = []string{"nodeserver-async", "tomcat-async"}
	p.sizes = []int{100_000, 1_000_000}
	p.fail = []string{"nodeserver-async", "nodeserver-all", "scs-redis", "nats-kv", "tomcat-async", "tomcat-sync"}
	return p
}

// smokePlan tries every step for a moment; its figures mean nothing.
func smokePlan() plan {
	p := quickPlan()
	p.name, p.rounds = "smoke", 1
	p.warm, p.measure = 100*time.Millisecond, 300*time.Millisecond
	p.sizes, p.members = []int{10_000}, []int{2, 4}
	return p
}
