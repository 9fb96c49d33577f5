package report

import (
	"fmt"
	"math"

	"github.com/nodeserver/nodeserver/bench/record"
)

// goal is a figure with a bound that it must not pass.
type goal struct {
	text  string
	bound float64
	cells []cell // that it is made from
	is    func(f *record.File) record.Spread
}

type cell struct{ what, kind, work string }

func ratio(id, base string, bound float64, text string) goal {
	cells := []cell{{"load", id, sticky}, {"load", base, own(base, sticky)}}
	return goal{text, bound, cells, func(f *record.File) record.Spread {
		return f.Ratio("load", "cpu_us", id, sticky, base, own(base, sticky))
	}}
}

func figure(what, work, value string, bound float64, text string) goal {
	return goal{text, bound, []cell{{what, async, work}}, func(f *record.File) record.Spread { return f.Of(what, async, work, value) }}
}

// never is a goal of 0 of a value, over all runs of a part together.
func never(what, work, value, text string) goal {
	return goal{text, 0, []cell{{what, async, work}}, func(f *record.File) record.Spread {
		sum, n := f.Sum(what, async, work, value)
		return record.Spread{Median: sum, Min: sum, Max: sum, N: n}
	}}
}

// quotient is a value divided by another of the same runs.
func quotient(what, id, work, value, by string, bound float64, text string) goal {
	return goal{text, bound, []cell{{what, id, work}}, func(f *record.File) record.Spread {
		return f.Quotient(what, id, work, value, by)
	}}
}

// beyond is a value less that of another work of the same round.
func beyond(what, id, work, base, value string, bound float64, text string) goal {
	return goal{text, bound, []cell{{what, id, work}, {what, id, base}}, func(f *record.File) record.Spread {
		return f.Beyond(what, value, id, work, base)
	}}
}

const (
	async, all = "nodeserver-async", "nodeserver-all"
	door       = "balancer"
)

// allGoals are those of the project, each by the strictest reading; a milder one is a
// row of its own.
func allGoals() []goal {
	list := []goal{
		ratio(async, "plain", 1.4, "CPU per `/inc`, async, sticky, all three nodes: part of plain net/http in one process"),
		ratio(async, "plain-3", 1.4, "the same: part of plain net/http in three processes"),
		ratio(async, "tomcat-async", 1.0/3, "the same: part of Tomcat async"),
		ratio(async, "scs-redis", 0.25, "the same: part of scs + Redis"),
		ratio(all, "tomcat-sync", 0.25, "CPU per `/inc`, acks = all: part of Tomcat sync"),
		never("load", random, "stale", "random node, freshness on: stale answers"),
		never("load", random, "lost_increments", "random node, freshness on: lost increments"),
		never("load", random, "diverged_sessions", "random node, freshness on: copies that differ"),
		figure("load", sticky, "wire_member_bytes", 90, "bytes to each member per `/inc`, all TCP payload, both directions"),
	}
	for _, n := range []string{"100 k", "1 M"} {
		list = append(list,
			figure("memory", n, "heap_bytes", 400, "heap per session of 100 B, "+n+" sessions, B"),
			figure("memory", n, "rss_bytes", 700, "RSS per session of 100 B, "+n+" sessions, B, beyond a node just started"),
			figure("memory", n, "rss_warm_bytes", 700, "RSS per session of 100 B, "+n+" sessions, B, beyond a node that served before"),
			figure("memory", n, "gc_pause_p99_ms", 2, "GC pause p99 at "+n+" sessions, ms"),
			figure("memory", n, "gc_half_pause_p99_ms", 2, "GC pause p99 at "+n+" sessions and half load, ms"))
	}
	for _, j := range []struct {
		size  string
		bound float64
	}{{"100 k", 250}, {"1 M", 3000}} {
		list = append(
			list,
			figure("join", j.size, "complete_ms", j.bound, "join, "+j.size+" sessions, ms from the start of the process"),
			beyond("join", async, j.size, "0 k", "complete_ms", j.bound, "join, "+j.size+" sessions, ms beyond what the start alone takes"),
			quotient(
				"join", async, j.size+" under load", "p99_during_ms", "p99_before_ms", 1.2,
				"p99 of live traffic during a join of "+j.size+": part of before",
			),
		)
	}
	return append(list,
		figure("failover", door, "first_good_ms", 5, "kill -9 through our door: first good answer, ms"),
		never("failover", door, "errors", "kill -9 through our door: errors"),
		never("failover", door, "lost_sessions", "kill -9 through our door: sessions lost"),
		figure("lag", "half load", "p99_ms", 3, "replication lag p99 at half load, ms"),
		tlsGoal())
}

func tlsGoal() goal {
	const tls = "nodeserver-tls"
	return goal{
		"CPU per `/inc` with mutual TLS: part of without",
		1.1,
		[]cell{{"load", tls, sticky}, {"load", async, sticky}},
		func(f *record.File) record.Spread {
			return f.Ratio("load", "cpu_us", tls, sticky, async, sticky)
		},
	}
}

// goals compares what was measured with what is wanted. The median decides, the
// range is beside it; a run that failed is never a goal reached. Figures are
// rounded up, bounds down.
func goals(f *record.File) string {
	t := newTable("figure", "goal", "measured: median (min–max)", "runs", "reached")
	for _, g := range allGoals() {
		s, failed := g.is(f), 0
		for _, c := range g.cells {
			failed += f.Failed(c.what, c.kind, c.work)
		}
		n := runs(s)
		if failed > 0 {
			n = fmt.Sprintf("%d and %d that failed", s.N, failed)
		}
		want := "≤ " + number(math.Floor(g.bound*1000)/1000)
		if g.bound == 0 {
			want = "0"
		}
		t.row(
			g.text, want,
			spread(record.Spread{Median: up(s.Median), Min: up(s.Min), Max: up(s.Max), N: s.N}), n,
			verdict(s, g.bound, failed),
		)
	}
	return t.String()
}

func verdict(s record.Spread, bound float64, failed int) string {
	switch {
	case s.N == 0 && failed == 0:
		return "not measured"
	case s.N == 0 || failed > 0 || s.Median > bound:
		return "**no**"
	case s.Max > bound:
		return "yes, not in every run"
	}
	return "yes"
}

// up rounds up to as many digits as number shows.
func up(v float64) float64 {
	unit := 0.001
	switch a := math.Abs(v); {
	case a >= 100:
		unit = 1
	case a >= 10:
		unit = 0.1
	case a >= 1:
		unit = 0.01
	}
	if r := math.Round(v/unit) * unit; math.Abs(r-v) < 1e-9*math.Abs(v) {
		return v // is whole already, but for how floats are
	}
	return math.Ceil(v/unit) * unit
}
