package report

import (
	"github.com/nodeserver/nodeserver/bench/record"
)

// goal is a figure with a bound that it must not pass.
type goal struct {
	text  string
	bound float64
	is    func(f *record.File) record.Spread
}

func ratio(id, base string, bound float64, text string) goal {
	return goal{text, bound, func(f *record.File) record.Spread {
		return f.Ratio("load", "cpu_us", id, sticky, base, own(base, sticky))
	}}
}

func figure(what, id, work, value string, bound float64, text string) goal {
	return goal{text, bound, func(f *record.File) record.Spread { return f.Of(what, id, work, value) }}
}

// never is a goal of 0 of a value, over all runs of a part together.
func never(what, id, work, value, text string) goal {
	return goal{text, 0, func(f *record.File) record.Spread {
		sum, n := f.Sum(what, id, work, value)
		return record.Spread{Median: sum, Min: sum, Max: sum, N: n}
	}}
}

// quotient is a value divided by another of the same runs.
func quotient(what, id, work, value, by string, bound float64, text string) goal {
	return goal{text, bound, func(f *record.File) record.Spread {
		var all []float64
		for _, r := range f.Runs {
			if r.What == what && r.Kind == id && r.Work == work && r.Values[by] > 0 {
				all = append(all, r.Values[value]/r.Values[by])
			}
		}
		return record.SpreadOf(all)
	}}
}

// beyond is a value less that of another work of the same round.
func beyond(what, id, work, base, value string, bound float64, text string) goal {
	return goal{text, bound, func(f *record.File) record.Spread {
		return f.Beyond(what, value, id, work, base)
	}}
}

const async, all = "nodeserver-async", "nodeserver-all"

func allGoals() []goal {
	return []goal{
		ratio(async, "plain", 1.4, "CPU per `/inc`, async, sticky: part of plain net/http"),
		ratio(async, "tomcat-async", 1.0/3, "the same: part of Tomcat async"),
		ratio(async, "scs-redis", 0.25, "the same: part of scs + Redis"),
		ratio(all, "tomcat-sync", 0.25, "CPU per `/inc`, acks = all: part of Tomcat sync"),
		never("load", async, random, "stale", "random node, freshness on: stale answers"),
		never("load", async, random, "lost_increments", "random node, freshness on: lost increments"),
		never("load", async, random, "diverged_sessions", "random node, freshness on: copies that differ"),
		figure("load", async, sticky, "payload_member_bytes", 90, "bytes to each member per `/inc`"),
		figure("memory", async, "100 k", "heap_bytes", 400, "heap per session of 100 B, 100 k sessions, B"),
		figure("memory", async, "100 k", "rss_bytes", 700, "RSS per session of 100 B, 100 k sessions, B"),
		figure("memory", async, "1 M", "heap_bytes", 400, "heap per session of 100 B, 1 M sessions, B"),
		figure("memory", async, "1 M", "rss_bytes", 700, "RSS per session of 100 B, 1 M sessions, B"),
		figure("memory", async, "1 M", "gc_pause_p99_ms", 2, "GC pause p99 at 1 M sessions, ms"),
		figure("join", async, "100 k", "complete_ms", 250, "join, 100 k sessions, ms from the start of the process"),
		figure("join", async, "1 M", "complete_ms", 3000, "join, 1 M sessions, ms from the start of the process"),
		beyond("join", async, "100 k", "0 k", "complete_ms", 250, "join, 100 k sessions, ms beyond what the start alone takes"),
		beyond("join", async, "1 M", "0 k", "complete_ms", 3000, "join, 1 M sessions, ms beyond what the start alone takes"),
		quotient("join", async, "100 k under load", "p99_during_ms", "p99_before_ms", 1.2, "p99 of live traffic during a join, part of before"),
		figure("failover", async, "front door", "first_good_ms", 5, "kill -9 through our door: first good answer, ms"),
		never("failover", async, "front door", "errors", "kill -9 through our door: errors"),
		figure("lag", async, "half load", "p99_ms", 3, "replication lag p99 at half load, ms"),
		tlsGoal(),
	}
}

func tlsGoal() goal {
	return goal{"CPU per `/inc` with mutual TLS: part of without", 1.1, func(f *record.File) record.Spread {
		return f.Ratio("load", "cpu_us", "nodeserver-tls", sticky, async, sticky)
	}}
}

// goals compares what was measured with what is wanted. The median decides; the
// range is beside it.
func goals(f *record.File) string {
	t := newTable("figure", "goal", "measured: median (min–max)", "runs", "reached")
	for _, g := range allGoals() {
		s := g.is(f)
		verdict := "not measured"
		switch {
		case s.N == 0:
		case s.Median <= g.bound:
			verdict = "yes"
		default:
			verdict = "**no**"
		}
		want := "≤ " + number(g.bound)
		if g.bound == 0 {
			want = "0"
		}
		t.row(g.text, want, spread(s), runs(s), verdict)
	}
	return t.String()
}
