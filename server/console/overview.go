package console

import (
	"html/template"
	"math"
	"net/http"
	"time"

	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/operators"
)

// functions are those of templates.
var functions = template.FuncMap{
	"age":   func(t time.Time) string { return age(time.Since(t)) },
	"short": func(hash string) string { return hash[:min(12, len(hash))] },
	"exact": func(t time.Time) string { return t.Local().Format("15:04:05.000") },
	"rfc":   func(t time.Time) string { return t.Format(time.RFC3339Nano) },
	"clock": func(t time.Time) string { return t.Format(time.DateTime) },
}

// age is a duration in its one or two largest units.
func age(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d < 2*time.Minute:
		return number(d.Seconds()) + " s"
	case d < 2*time.Hour:
		return number(math.Floor(d.Minutes())) + " min"
	case d < 48*time.Hour:
		return number(math.Floor(d.Hours())) + " h"
	}
	return number(math.Floor(d.Hours()/24)) + " days"
}

// overview is what the first page shows.
type overview struct {
	At       time.Time
	Verdict  admin.Verdict
	Nodes    []nodeRow
	Ready    int
	Sessions int64 // of the node that was asked
	InFlight int64 // of all nodes
	Rate     string
	Charts   []chart
	Kill     bool // nodes can be killed
}

// nodeRow is a node, with how it sees each of the others.
type nodeRow struct {
	admin.NodeRow
	State    mark
	Sessions int64
	Sees     []mark // as Nodes
}

// mark is a state in words, and how good it is.
type mark struct {
	Text string
	Kind string // good, warn, bad, none
}

func (c *Console) overview(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	reply, past := c.node.Cluster(r.Context()), c.past.all()
	o := overview{At: now, Verdict: admin.Judge(reply), Nodes: rows(reply), Kill: c.cfg.Kill != nil}
	for _, n := range o.Nodes {
		if n.Self {
			o.Sessions = n.Sessions
		}
		if n.Report != nil {
			o.InFlight += n.Report.InFlight
			if n.Report.Ready && !n.Report.Draining {
				o.Ready++
			}
		}
	}
	requests := rate(past, "requests", func(s admin.Sample) int64 { return s.Requests })
	o.Rate = "0"
	if list := requests["requests"]; len(list) > 0 {
		o.Rate = number(list[len(list)-1].value)
	}
	o.Charts = []chart{
		draw("Requests of users", "a second", requests, now),
		draw("Requests in flight", "", level(past, func(s admin.Sample) map[string]int64 {
			return map[string]int64{"in flight": s.InFlight}
		}), now),
		draw("Sessions", "by webapp", level(past, func(s admin.Sample) map[string]int64 { return s.Sessions }), now),
		draw("Replication queue", "changes not acknowledged", level(past, func(s admin.Sample) map[string]int {
			return s.Queue
		}), now),
		draw("Replication", "bytes sent to members a second", rate(past, "bytes", func(s admin.Sample) int64 { return s.Bytes }), now),
	}
	c.show(w, r, http.StatusOK, "overview.html", "Overview", o)
}

// rows are the nodes of the matrix. One that is gone is left out where it has started again.
func rows(reply admin.ClusterReply) []nodeRow {
	there := map[string]bool{}
	for _, n := range reply.Nodes {
		there[n.Name] = there[n.Name] || n.State != "gone"
	}
	var list []nodeRow
	for _, n := range reply.Nodes {
		if n.State != "gone" || !there[n.Name] {
			list = append(list, nodeRow{NodeRow: n, State: stateOf(n)})
		}
	}
	for i := range list {
		n := &list[i]
		if n.Report != nil {
			for _, a := range n.Report.Apps {
				n.Sessions += a.Sessions
			}
		}
		for _, o := range list {
			n.Sees = append(n.Sees, seen(n.NodeRow, o.NodeRow))
		}
	}
	return list
}

func stateOf(n admin.NodeRow) mark {
	switch {
	case n.Report == nil && n.Left:
		return mark{"left", "none"}
	case n.Report == nil && n.State == "gone":
		return mark{"gone", "bad"}
	case n.Report == nil:
		return mark{"no answer", "bad"}
	case n.Report.Draining:
		return mark{"draining", "warn"}
	case !n.Report.Ready:
		return mark{"not ready", "bad"}
	}
	return mark{"ready", "good"}
}

// seen is how a node sees another.
func seen(n, other admin.NodeRow) mark {
	if n.Name == other.Name {
		return mark{"itself", "none"}
	}
	if n.Report == nil {
		return mark{"no answer", "none"}
	}
	m, known := admin.Sees(n, other)
	switch {
	case !known && (other.State == "gone" || other.Left):
		return mark{"gone", "none"}
	case !known:
		return mark{"unknown", "bad"}
	case m.State == "gone" && other.Left:
		return mark{"left", "none"}
	case m.State != "alive":
		return mark{m.State, "bad"}
	case !m.InSync:
		return mark{"lacks sessions", "warn"}
	case m.Queue > 0:
		return mark{"ok, owes " + number(float64(m.Queue)), "good"}
	}
	return mark{"ok", "good"}
}

func (c *Console) setDraining(on bool) http.HandlerFunc {
	what := map[bool]string{true: "drain", false: "undrain"}[on]
	return func(w http.ResponseWriter, r *http.Request) {
		act, node := operators.ActOf(r.Context()), r.PostFormValue("node")
		act.Note("by", "console")
		act.Note("member", node[:min(len(node), 64)])
		if err := c.node.SetDraining(r.Context(), node, on, act.Actor.Name); err != nil {
			c.wrong(w, r, http.StatusConflict, err.Error())
			return
		}
		done(w, r, "/", what)
	}
}

// kill ends a node of a demonstration.
func (c *Console) kill(w http.ResponseWriter, r *http.Request) {
	node := r.PostFormValue("node")
	operators.ActOf(r.Context()).Note("member", node[:min(len(node), 64)])
	if err := c.cfg.Kill(node); err != nil {
		c.wrong(w, r, http.StatusConflict, err.Error())
		return
	}
	done(w, r, "/", "kill")
}
