package admin

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Codes of a Verdict, as monitoring plugins have them.
const (
	Good     = 0
	Warning  = 1 // users are served, but something is wrong
	Critical = 2 // the node that was asked does not serve users
)

// Verdict says how a cluster is: what nodeserver status prints, and the console.
type Verdict struct {
	Schema  string   `json:"schema"` // nodeserver.status/1
	Node    string   `json:"node"`   // who was asked
	Code    int      `json:"code"`   // the exit code
	Verdict string   `json:"verdict"`
	Wrong   []Fault  `json:"wrong"`
	ready   []string // members that serve users
}

// Fault is one thing that is wrong.
type Fault struct {
	What string `json:"what"`
	Do   string `json:"do"`
}

// Judge looks at what a node says of the cluster.
func Judge(r ClusterReply) Verdict {
	v := Verdict{Schema: "nodeserver.status/1", Node: r.Node, Wrong: []Fault{}}
	serves := false
	for _, n := range r.Nodes {
		if n.Report == nil {
			if !back(r, n) {
				v.silent(n)
			}
			continue
		}
		if n.Report.Ready && !n.Report.Draining {
			v.ready = append(v.ready, n.Name)
			serves = serves || n.Self
		}
		v.look(*n.Report)
	}
	v.views(r)
	v.differ(r, "versions", "a rolling restart ends that", func(n NodeReport) string { return n.Version })
	v.differ(r, "configurations", "compare their files", func(n NodeReport) string { return n.ConfDigest })
	switch {
	case len(v.ready) == 0:
		v.Code, v.Verdict = Critical, "No node serves users."
	case !serves:
		v.Code, v.Verdict = Critical, fmt.Sprintf("%s does not serve users; %s do.", r.Node, strings.Join(v.ready, ", "))
	case len(v.Wrong) > 0:
		v.Code, v.Verdict = Warning, fmt.Sprintf("Users are served by %s; wrong: %d.", strings.Join(v.ready, ", "), len(v.Wrong))
	case len(v.ready) == 1:
		v.Verdict = fmt.Sprintf("All is well with %s, which is alone: its sessions end with it.", r.Node)
	default:
		v.Verdict = fmt.Sprintf("All is well: %d members serve users, none lacks a session.", len(v.ready))
	}
	return v
}

func (v *Verdict) wrong(do, what string, args ...any) {
	v.Wrong = append(v.Wrong, Fault{fmt.Sprintf(what, args...), do})
}

// back tells whether a node that is gone has started again since.
func back(r ClusterReply, n NodeRow) bool {
	return n.State == "gone" && slices.ContainsFunc(r.Nodes, func(o NodeRow) bool { return o.Name == n.Name && o.State != "gone" })
}

// silent notes a member that has said nothing, unless it has left.
func (v *Verdict) silent(n NodeRow) {
	switch {
	case n.Left:
	case n.State == "gone":
		v.wrong("start it, if it is to be there", "%s is gone", n.Name)
	default:
		v.wrong("look at that machine and the network between", "%s, which is %s, said nothing: %s", n.Name, n.State, n.Problem)
	}
}

// look notes what is wrong at a node by its own account.
func (v *Verdict) look(n NodeReport) {
	switch {
	case n.Waiting != "":
		v.wrong("start the members that are missing, or see membership.expect", "%s waits: %s", n.Node, n.Waiting)
	case n.Draining:
		v.wrong("nodeserver undrain, if it is to have users", "%s drains: it stops, or an operator asked for it", n.Node)
	case !n.Ready:
		v.wrong("its /readyz says what it waits for", "%s is not ready", n.Node)
	}
	for _, a := range n.Apps {
		switch {
		case a.Problem == nil:
		case a.State == "down":
			v.wrong("mend it and put it in place again, or see: nodeserver doctor",
				"app %s is not served by %s: %s", a.Name, n.Node, a.Problem.Reason)
		default:
			v.wrong("mend it and deploy it again",
				"app %s was not redeployed at %s, the revision before serves: %s", a.Name, n.Node, a.Problem.Reason)
		}
	}
	for _, p := range n.Providers {
		if p.Problem != "" {
			v.wrong("see: nodeserver doctor --conf FILE", "%s can't find members by %s: %s", n.Node, p.Name, p.Problem)
		}
	}
}

// views notes which nodes don't see each other, and which lack sessions.
func (v *Verdict) views(r ClusterReply) {
	for _, n := range r.Nodes {
		for _, o := range r.Nodes {
			if n.Report == nil || o.Report == nil || n.Name == o.Name {
				continue // that one of them says nothing is noted already
			}
			m, known := Sees(n, o)
			switch {
			case !known:
				v.wrong("look at the network between the two", "%s does not know %s", n.Name, o.Name)
			case m.State != "alive":
				v.wrong("look at the network between the two", "%s sees %s as %s", n.Name, o.Name, m.State)
			case !m.InSync:
				v.wrong("wait; if it stays so, see nodeserver_replication_in_sync and the log",
					"%s lacks sessions of %s yet", n.Name, o.Name)
			}
		}
	}
}

// Sees is how one node sees another.
func Sees(n, other NodeRow) (MemberRow, bool) {
	i := slices.IndexFunc(n.Report.Members, func(m MemberRow) bool {
		return m.Name == other.Name && m.Incarnation == other.Incarnation
	})
	if i < 0 {
		return MemberRow{}, false
	}
	return n.Report.Members[i], true
}

// differ notes what should be the same on all nodes.
func (v *Verdict) differ(r ClusterReply, what, do string, of func(NodeReport) string) {
	nodes := map[string][]string{}
	for _, n := range r.Nodes {
		if n.Report != nil {
			nodes[of(*n.Report)] = append(nodes[of(*n.Report)], n.Name)
		}
	}
	if len(nodes) < 2 {
		return
	}
	var list []string
	for _, is := range slices.Sorted(maps.Keys(nodes)) {
		list = append(list, fmt.Sprintf("%s (%s)", is, strings.Join(nodes[is], ", ")))
	}
	v.wrong(do, "nodes have different %s: %s", what, strings.Join(list, "; "))
}
