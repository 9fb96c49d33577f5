package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/deploy"
)

// answerTime is how long a member may take to answer: a view of the cluster is late by that at
// most, whatever hangs.
const answerTime = time.Second

// NodeReport is what a node says of itself, to operators and to other members.
type NodeReport struct {
	Schema       string        `json:"schema"` // nodeserver.report/1
	Node         string        `json:"node"`
	Incarnation  string        `json:"incarnation"` // hex
	Domain       string        `json:"domain"`
	Version      string        `json:"version"`
	ConfDigest   string        `json:"conf_digest"` // equal where nodes were told the same, but for their names and addresses
	Since        time.Time     `json:"since"`       // when the node started
	Ready        bool          `json:"ready"`
	Draining     bool          `json:"draining"`
	DrainedSince *time.Time    `json:"drained_since,omitempty"` // when an operator asked for it
	Waiting      string        `json:"waiting,omitempty"`       // what it waits for before it gets the sessions
	InFlight     int64         `json:"in_flight"`               // requests of users that are being served
	Apps         []AppRow      `json:"apps"`                    // those that are not served, too
	Members      []MemberRow   `json:"members"`                 // as the node sees them, itself included
	Providers    []ProviderRow `json:"providers"`               // how it finds members
}

// ClusterReply is what /api/v1/cluster answers: what each member says of itself. A column of the
// matrix of members is NodeRow.Report.Members.
type ClusterReply struct {
	Schema string    `json:"schema"` // nodeserver.cluster/1
	Node   string    `json:"node"`   // who answers
	Nodes  []NodeRow `json:"nodes"`  // by name
}

// NodeRow is a member, and what it says of itself.
type NodeRow struct {
	Name        string      `json:"name"`
	Incarnation string      `json:"incarnation"` // hex
	State       string      `json:"state"`       // as the node sees it that was asked; "unknown": only others see it
	Left        bool        `json:"left"`        // gone, and it has said so
	Self        bool        `json:"self"`
	Problem     string      `json:"problem,omitempty"` // why there is no report
	Report      *NodeReport `json:"report,omitempty"`
}

// Report is what a node says of itself. To be called once its channel is made.
func Report(c Config, node Node, apps *deploy.Table) NodeReport {
	a := &admin{cfg: c, node: node, apps: apps}
	return a.report()
}

func (a *admin) report() NodeReport {
	r := NodeReport{
		Schema: "nodeserver.report/1", Node: a.cfg.ID.Name, Incarnation: incarnation(a.cfg.ID), Domain: a.cfg.Domain,
		Version: a.cfg.Version, ConfDigest: a.node.ConfDigest(), Since: a.cfg.Since, Ready: a.node.Ready(), Draining: a.node.Draining(),
		Waiting: a.node.Waiting(), InFlight: a.node.InFlight(), Apps: a.appRows(), Members: a.memberRows(), Providers: a.providerRows(),
	}
	if since := a.node.DrainedSince(); !since.IsZero() {
		r.DrainedSince = &since
	}
	return r
}

func incarnation(id membership.ID) string { return fmt.Sprintf("%016x", id.Incarnation) }

func (a *admin) serveCluster(w http.ResponseWriter, r *http.Request) {
	answer(w, a.cluster(r.Context()))
}

func (a *admin) cluster(ctx context.Context) ClusterReply {
	return ClusterReply{Schema: "nodeserver.cluster/1", Node: a.cfg.ID.Name, Nodes: a.nodes(ctx)}
}

// askAll asks all these members at once, each for answerTime at most. The answers are in the order of
// the members.
func askAll[T any](
	ctx context.Context, members []membership.Status, ask func(context.Context, membership.Status) T,
) []T {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	answers := make([]T, len(members))
	var asking sync.WaitGroup
	for i, m := range members {
		asking.Go(func() { answers[i] = ask(ctx, m) })
	}
	asking.Wait()
	return answers
}

// nodes asks all members, and adds those that only others see.
func (a *admin) nodes(ctx context.Context) []NodeRow {
	rows := askAll(ctx, a.node.Members(), func(ctx context.Context, m membership.Status) NodeRow {
		row := NodeRow{
			Name: m.Name, Incarnation: incarnation(m.ID), State: m.State.String(), Left: m.Left, Self: m.ID == a.cfg.ID,
		}
		row.Report, row.Problem = a.reportOf(ctx, m)
		return row
	})
	rows = append(rows, strangers(rows)...)
	slices.SortFunc(rows, func(x, y NodeRow) int {
		return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Incarnation, y.Incarnation))
	})
	return rows
}

// reportOf is a member's report, or why there is none.
func (a *admin) reportOf(ctx context.Context, m membership.Status) (report *NodeReport, problem string) {
	switch {
	case m.ID == a.cfg.ID:
		r := a.report()
		return &r, ""
	case m.State == membership.Gone && m.Left:
		return nil, "it has left"
	case m.State == membership.Gone:
		return nil, "it is gone"
	}
	body, err := a.node.ReportOf(ctx, m.Member)
	if err == nil {
		err = json.Unmarshal(body, &report)
	}
	if err != nil {
		return nil, noAnswer(ctx, err)
	}
	return report, ""
}

// strangers are members that nodes see, and the node that was asked does not.
func strangers(rows []NodeRow) []NodeRow {
	known, list := map[string]bool{}, []NodeRow(nil)
	for _, r := range rows {
		known[r.Name] = true
	}
	for _, r := range rows {
		if r.Report == nil {
			continue
		}
		for _, m := range r.Report.Members {
			if !known[m.Name] && m.State != membership.Gone.String() {
				known[m.Name] = true
				list = append(list, NodeRow{
					Name: m.Name, Incarnation: m.Incarnation, State: "unknown",
					Problem: "not asked: only other members see it, like " + r.Name,
				})
			}
		}
	}
	return list
}
