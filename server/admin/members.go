package admin

import (
	"net/http"
	"sort"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
)

// MembersReply is what /api/v1/members answers.
type MembersReply struct {
	Schema  string      `json:"schema"` // nodeserver.members/1
	Node    string      `json:"node"`   // who answers
	Cluster string      `json:"cluster"`
	Cookie  string      `json:"cookie_name"` // of sessions, as the node is configured
	Members []MemberRow `json:"members"`
	// Apps that the node was given and does not serve; it does not tell the others that it
	// hosts them.
	Down []DownRow `json:"apps_down"`
	// How the node finds members.
	Providers []ProviderRow `json:"providers"`
	Waiting   string        `json:"waiting,omitempty"` // what the node waits for before it gets the sessions, empty: nothing
}

// DownRow is an app that a node does not serve.
type DownRow struct {
	Name   string `json:"name"`   // of the app or, where that is not known, of its file
	Path   string `json:"path"`   // answers 503; empty: there is none
	Origin string `json:"origin"` // file of the plugin, or "compiled in"
	Reason string `json:"reason"`
}

// ProviderRow is one way to find members.
type ProviderRow struct {
	Name    string `json:"name"`    // mdns, static, dns, file
	Queries uint64 `json:"queries"` // rounds of asking
	Answers uint64 `json:"answers"` // addresses proposed, repeats included
	Refused uint64 `json:"refused"` // answers that were of no use, other clusters' and packets that don't count included
	Errors  uint64 `json:"errors"`  // rounds that went wrong
	Problem string `json:"problem"` // what is wrong now, empty if nothing
}

// MemberRow is one member as a node sees it.
type MemberRow struct {
	Name           string   `json:"name"`
	Incarnation    string   `json:"incarnation"` // hex
	State          string   `json:"state"`
	Ready          bool     `json:"ready"`
	Draining       bool     `json:"draining"`
	ChannelAddress string   `json:"channel_address"`
	HTTPAddress    string   `json:"http_address"`
	HTTPS          bool     `json:"https"` // it speaks TLS there
	Apps           []string `json:"apps"`
	Domain         string   `json:"domain"` // members of another than the node's have none of its sessions
	Version        string   `json:"version"`
	Self           bool     `json:"self"`
	Sessions       int64    `json:"sessions"`    // at the member, as it last said; of all apps it shares with this node
	Queue          int      `json:"queue"`       // changes it has not acknowledged
	Lag            float64  `json:"lag_seconds"` // for how long the oldest of these has waited, within 50 ms
	InSync         bool     `json:"in_sync"`     // nothing of it is known to be missing here, and it is less than 2 s behind
}

func (a *admin) serveMembers(w http.ResponseWriter, _ *http.Request) {
	reply := MembersReply{
		Schema:    "nodeserver.members/1",
		Node:      a.cfg.ID.Name,
		Cluster:   a.cfg.Cluster,
		Cookie:    a.cfg.Cookie,
		Members:   a.memberRows(),
		Down:      a.downRows(),
		Providers: a.providerRows(),
		Waiting:   a.node.Waiting(),
	}
	answer(w, reply)
}

func (a *admin) downRows() []DownRow {
	rows := []DownRow{}
	for _, d := range a.apps.Down() {
		rows = append(rows, DownRow{Name: d.Name, Path: d.Path, Origin: d.Origin, Reason: d.Err.Error()})
	}
	return rows
}

func (a *admin) providerRows() []ProviderRow {
	rows := []ProviderRow{}
	for _, p := range a.node.Providers() {
		n := p.Stats()
		rows = append(
			rows,
			ProviderRow{
				Name:    p.Name(),
				Queries: n.Queries,
				Answers: n.Answers,
				Refused: n.Foreign + n.Refused + n.Noise,
				Errors:  n.Errors,
				Problem: n.Problem,
			},
		)
	}
	return rows
}

// tooFarBehind is how long a change may wait for a member before the two are not in sync.
const tooFarBehind = 2 * time.Second

// inSync tells whether nothing of the member's is known to be missing here, and nothing of this
// node's has waited for the member for long.
func inSync(l deltamanager.LinkStats) bool { return l.Repaired && l.Behind < tooFarBehind }

// memberRows joins what membership and the delta managers know.
func (a *admin) memberRows() []MemberRow {
	type sum struct {
		sessions int64
		queue    int
		lag      time.Duration
		behind   bool
	}
	sums := map[string]*sum{} // by name: to an app's sessions, a member is the life of its app
	own := sum{}
	for p := range a.apps.Each() {
		stats := p.Manager().Stats()
		own.sessions += stats.Sessions
		for _, l := range stats.Links {
			x := sums[l.ID.Name]
			if x == nil {
				x = &sum{}
				sums[l.ID.Name] = x
			}
			x.sessions += int64(l.Sessions)
			x.queue = max(x.queue, l.Queue)
			x.lag = max(x.lag, l.Behind)
			x.behind = x.behind || !inSync(l)
		}
	}
	var rows []MemberRow
	for _, m := range a.node.Members() {
		x, self := &own, m.ID == a.cfg.ID
		if !self {
			if x = sums[m.Name]; x == nil {
				x = &sum{behind: m.Domain == a.cfg.Domain} // of another domain nothing is missing
			}
		}
		rows = append(rows, MemberRow{
			Name: m.Name, Incarnation: incarnation(m.ID), State: m.State.String(), Ready: m.Ready, Draining: m.Draining,
			ChannelAddress: m.ChannelAddress, HTTPAddress: m.HTTPAddress, HTTPS: m.HTTPS, Apps: m.Apps, Domain: m.Domain,
			Version: m.Version, Self: self,
			Sessions: x.sessions, Queue: x.queue, Lag: x.lag.Seconds(), InSync: !x.behind,
		})
	}
	sort.Slice(rows, func(i, j int) bool { return rows[i].Name < rows[j].Name })
	return rows
}
