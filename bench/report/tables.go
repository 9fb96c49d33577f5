package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nodeserver/nodeserver/bench/cluster"
	"github.com/nodeserver/nodeserver/bench/record"
)

// The works that most tables show.
const (
	sticky = "inc sticky c64"
	random = "inc random c64"
)

// about says where the figures are from, and what is not among them.
func about(f *record.File) string {
	var b strings.Builder
	if s := noise(f); s.N == 0 || s.Median > quiet || f.Profile == "smoke" {
		fmt.Fprintf(
			&b,
			"> **Provisional**: the machine was not quiet (see noise), or the run was too short. Don't quote these figures.\n\n",
		)
	}
	m := f.Machine
	fmt.Fprintf(
		&b,
		"- **Machine**: %s, %d cores, %d GiB, %s, Linux %s. Servers, Redis and load generator share it.\n",
		m.CPU, m.Cores, m.Memory>>30, m.System, m.Kernel,
	)
	fmt.Fprintf(
		&b,
		"- **Run**: %s, %d minutes, profile %s, with `%s`.\n",
		f.Started.UTC().Format("2006-01-02 15:04 UTC"),
		int(f.Ended.Sub(f.Started).Minutes()),
		f.Profile,
		f.Command,
	)
	for _, s := range f.More {
		fmt.Fprintf(&b, "- **And**: %s, %d minutes, profile %s, %s, with `%s`; no ratio mixes the two.\n",
			s.Started.UTC().Format("2006-01-02 15:04 UTC"), int(s.Ended.Sub(s.Started).Minutes()), s.Profile, s.Nodeserver, s.Command)
	}
	fmt.Fprintf(&b, "- **Versions**:")
	for _, k := range slices.Sorted(maps.Keys(f.Versions)) {
		fmt.Fprintf(&b, " %s `%s`;", k, f.Versions[k])
	}
	fmt.Fprintf(&b, "\n- **Noise**: cores used by neither servers nor load generator during a run: %s.\n", spread(noise(f)))
	for _, id := range slices.Sorted(maps.Keys(f.Missing)) {
		fmt.Fprintf(&b, "- **Missing**: %s: %s.\n", title(f, id), f.Missing[id])
	}
	for _, n := range f.Notes {
		fmt.Fprintf(&b, "- **Note**: %s\n", n)
	}
	return b.String()
}

// quiet is how many cores something else may use, as the median over all runs.
const quiet = 0.1

func noise(f *record.File) record.Spread {
	var all []float64
	for _, r := range f.Runs {
		if v, ok := r.Values["other_cores"]; ok && r.What == "load" {
			all = append(all, v)
		}
	}
	return record.SpreadOf(all)
}

func title(f *record.File, id string) string {
	if t := f.Titles[id]; t != "" {
		return t
	}
	return id
}

// kinds are those that were run for a part, or missing, in their order.
func kinds(f *record.File, what string) (ids []string) {
	for _, k := range cluster.Kinds() {
		if f.Missing[k.ID] != "" || len(f.Works(what, k.ID)) > 0 {
			ids = append(ids, k.ID)
		}
	}
	return ids
}

// row begins with the title and says what is missing.
func row(f *record.File, id string, cells ...string) []string {
	name := title(f, id)
	if f.Missing[id] != "" {
		name += " (missing)"
	}
	return append([]string{name}, cells...)
}

// own is the work as the kind does it: without sessions it is raw.
func own(id, work string) string {
	if strings.HasPrefix(id, "plain") {
		_, rest, _ := strings.Cut(work, " ")
		return "raw " + rest
	}
	return work
}

func cpu(f *record.File) string {
	t := newTable("CPU µs per request, all processes", "sticky", "× net/http", "× three of it", "random node", "× three of it", "runs")
	for _, id := range kinds(f, "load") {
		s, r := own(id, sticky), own(id, random)
		t.row(row(f, id,
			spread(f.Of("load", id, s, "cpu_us")),
			spread(f.Ratio("load", "cpu_us", id, s, "plain", own("plain", sticky))),
			spread(f.Ratio("load", "cpu_us", id, s, "plain-3", own("plain-3", sticky))),
			spread(f.Of("load", id, r, "cpu_us")),
			spread(f.Ratio("load", "cpu_us", id, r, "plain-3", own("plain-3", random))),
			runs(f.Of("load", id, s, "cpu_us")))...)
	}
	return t.String()
}

// ratios are those of our kinds to the others.
func ratios(f *record.File) string {
	bases := []string{"plain", "plain-3", "scs-mem", "scs-redis", "gorilla-redis", "nats-kv", "tomcat-async", "tomcat-sync"}
	columns := []string{"CPU per request, sticky, as a part of"}
	for _, b := range bases {
		columns = append(columns, title(f, b))
	}
	t := newTable(columns...)
	for _, id := range kinds(f, "load") {
		if !strings.HasPrefix(id, "nodeserver") {
			continue
		}
		var cells []string
		for _, b := range bases {
			cells = append(cells, spread(f.Ratio("load", "cpu_us", id, sticky, b, own(b, sticky))))
		}
		t.row(row(f, id, cells...)...)
	}
	return t.String()
}

// works is CPU per request for everything that was run.
func works(f *record.File) string {
	var ids []string
	for _, id := range kinds(f, "load") {
		if f.Missing[id] == "" {
			ids = append(ids, id)
		}
	}
	columns := []string{"CPU µs per request"}
	for _, id := range ids {
		columns = append(columns, title(f, id))
	}
	t := newTable(columns...)
	for _, w := range f.Works("load", "") {
		if w == "start" {
			continue
		}
		cells := []string{w}
		for _, id := range ids {
			cells = append(cells, spread(f.Of("load", id, w, "cpu_us")))
		}
		t.row(cells...)
	}
	return t.String()
}

func speed(f *record.File) string {
	t := newTable("64 workers", "sticky: requests/s", "p50 ms", "p99 ms", "random: requests/s", "p50 ms", "p99 ms")
	for _, id := range kinds(f, "load") {
		var cells []string
		for _, w := range []string{own(id, sticky), own(id, random)} {
			for _, v := range []string{"rps", "p50_ms", "p99_ms"} {
				cells = append(cells, spread(f.Of("load", id, w, v)))
			}
		}
		t.row(row(f, id, cells...)...)
	}
	return t.String()
}

// correct sums over all runs: one wrong answer in any of them shows.
func correct(f *record.File) string {
	t := newTable(
		"all runs together", "work", "requests", "errors", "stale", "stale %", "lost sessions",
		"lost increments", "sessions whose copies differ", "of sessions",
	)
	for _, id := range kinds(f, "load") {
		for _, policy := range []string{"inc sticky", "inc random", "get sticky", "get random", "set sticky"} {
			sum := func(value string) float64 { return together(f, id, policy, value) }
			if sum("requests") == 0 {
				continue
			}
			differ := ""
			if k, _ := cluster.Find(id); k.Replicated && strings.HasPrefix(policy, "inc") {
				differ = number(sum("diverged_sessions"))
			}
			t.row(
				row(
					f, id, policy, number(sum("requests")), number(sum("errors")), number(sum("stale")),
					number(100*sum("stale")/sum("requests")), number(sum("lost_sessions")),
					number(sum("lost_increments")), differ, number(sum("sessions")),
				)...)
		}
	}
	return t.String()
}

// together sums a value over all runs of an endpoint with a policy, whatever the
// number of workers and bytes.
func together(f *record.File, id, policy, value string) (sum float64) {
	for _, w := range f.Works("load", id) {
		words := strings.Fields(w) // inc sticky c64, set 100 B sticky c16
		if len(words) >= 3 && words[0]+" "+words[len(words)-2] == policy {
			s, _ := f.Sum("load", id, w, value)
			sum += s
		}
	}
	return sum
}

func wire(f *record.File) string {
	t := newTable(
		"bytes per `/inc`, 64 workers",
		"sticky: payload to each other member",
		"TCP payload per member",
		"TCP payload in all",
		"random: payload",
		"TCP payload per member",
		"TCP payload in all",
	)
	for _, id := range kinds(f, "load") {
		if strings.HasPrefix(id, "plain") || id == "scs-mem" {
			continue
		}
		t.row(row(
			f, id, spread(f.Of("load", id, sticky, "payload_member_bytes")), member(f, id, sticky),
			spread(f.Of("load", id, sticky, "wire_bytes")),
			spread(f.Of("load", id, random, "payload_member_bytes")), member(f, id, random),
			spread(f.Of("load", id, random, "wire_bytes")),
		)...)
	}
	return t.String()
}

// member is the TCP payload shared among the other members; Redis is none.
func member(f *record.File, id, work string) string {
	if strings.HasSuffix(id, "-redis") {
		return ""
	}
	return spread(f.Of("load", id, work, "wire_member_bytes"))
}

// plainTable shows some values of each kind and work of a part.
func plainTable(f *record.File, what, first string, values []string, columns ...string) string {
	t := newTable(append([]string{first, "work"}, append(columns, "runs")...)...)
	for _, id := range kinds(f, what) {
		for _, w := range f.Works(what, id) {
			cells := []string{w}
			for _, v := range values {
				cells = append(cells, spread(f.Of(what, id, w, v)))
			}
			n := runs(f.Of(what, id, w, values[0]))
			if failed := f.Failed(what, id, w); failed > 0 {
				n += fmt.Sprintf(" and %d that failed", failed)
			}
			t.row(row(f, id, append(cells, n)...)...)
		}
	}
	return t.String()
}

func memory(f *record.File) string {
	return plainTable(
		f,
		"memory",
		"sessions with an attribute of 100 bytes",
		[]string{
			"copies",
			"heap_bytes",
			"rss_bytes",
			"rss_warm_bytes",
			"all_rss_bytes",
			"node_rss_mib",
			"fill_s",
			"gc_pauses",
			"gc_pause_p99_ms",
			"gc_pause_max_ms",
			"gc_half_pause_p99_ms",
		},
		"copies of each",
		"heap per copy, B",
		"RSS per copy, B",
		"beyond a warm node, B",
		"RSS per session, all processes, B",
		"RSS of a node, MiB",
		"filled in s",
		"GC pauses",
		"p99, ms",
		"longest, ms",
		"p99 at half load, ms",
	)
}

func join(f *record.File) string {
	return plainTable(f, "join", "a third node joins two",
		[]string{"complete_ms", "first_answer_ms", "count_at_first_answer", "p99_before_ms", "p99_during_ms"},
		"has all sessions after ms", "first answer after ms", "sessions then", "p99 of others before, ms", "during, ms")
}

func lag(f *record.File) string {
	return plainTable(f, "lag", "one write, seen at another node",
		[]string{"p50_ms", "p99_ms", "max_ms", "never", "write_p50_ms", "write_p99_ms", "background_rps", "wanted_rps"},
		"p50 ms", "p99 ms", "longest ms", "never", "the write itself: p50 ms", "p99 ms", "requests/s meanwhile", "half of what it can")
}

func failover(f *record.File) string {
	return plainTable(
		f,
		"failover",
		"kill -9 of one node of three",
		[]string{
			"first_good_ms",
			"all_good_ms",
			"longest_gap_ms",
			"slowest_ms",
			"errors",
			"lost_sessions",
			"lost_increments",
			"workers_stuck",
		},
		"first good answer, ms",
		"for all workers, ms",
		"longest time without any, ms",
		"slowest request, ms",
		"errors users saw",
		"sessions lost",
		"increments lost",
		"workers stuck",
	)
}

func scale(f *record.File) string {
	return plainTable(
		f,
		"scale",
		"`/inc`, sticky, 64 workers; work is the number of members",
		[]string{"cpu_us", "rps", "p99_ms", "payload_member_bytes", "diverged_sessions", "idle_cores"},
		"CPU µs per request, all processes",
		"requests/s",
		"p99 ms",
		"payload to each member, B",
		"copies that differ",
		"cores used without load",
	)
}
