package admin

import (
	"net/http"
	"time"
)

// AppsReply is what /api/v1/apps answers.
type AppsReply struct {
	Schema string   `json:"schema"` // nodeserver.apps/1
	Node   string   `json:"node"`   // who answers
	Apps   []AppRow `json:"apps"`
}

// AppRow is an app as a node has it.
type AppRow struct {
	Name     string    `json:"name"`  // of the app or, where that is not known, of its file
	Path     string    `json:"path"`  // empty: another app has it, or it is not known
	State    string    `json:"state"` // serving, joining, leaving, stopped, down
	Version  string    `json:"version"`
	Revision string    `json:"revision"` // hash of the plugin's sources; empty: compiled in
	Origin   string    `json:"origin"`   // file of the plugin, or "compiled in"
	Hash     string    `json:"hash"`     // SHA-256 of the file, hex, if the catalog has it
	Since    time.Time `json:"since"`    // when this revision began to serve
	Sessions int64     `json:"sessions"` // on this node
	InFlight int64     `json:"in_flight"`
	Oldest   float64   `json:"oldest_seconds"`    // for how long the oldest request in flight has been served
	Problem  *Problem  `json:"problem,omitempty"` // why it is down, or why the latest redeployment was not done
}

// Problem is what went wrong, and when it did.
type Problem struct {
	At     *time.Time `json:"at,omitempty"`
	Reason string     `json:"reason"`
}

func (a *admin) serveApps(w http.ResponseWriter, _ *http.Request) {
	answer(w, AppsReply{Schema: "nodeserver.apps/1", Node: a.cfg.ID.Name, Apps: a.appRows()})
}

func (a *admin) appRows() []AppRow {
	rows := []AppRow{}
	for p := range a.apps.Each() {
		v := p.Current()
		row := AppRow{
			Name: p.Name(), Path: p.Path(), State: p.State().String(), Version: v.Version, Revision: v.Source, Origin: v.Origin,
			Since: v.Since, Sessions: p.Manager().Stats().Sessions, InFlight: v.InFlight(),
			Hash: p.Hash(), Oldest: p.Oldest().Seconds(),
		}
		if f := p.Failed(); f != nil {
			row.Problem = &Problem{&f.At, f.Reason}
		}
		rows = append(rows, row)
	}
	for _, d := range a.apps.Down() {
		rows = append(
			rows,
			AppRow{Name: d.Name, Path: d.Path, State: "down", Origin: d.Origin, Problem: &Problem{Reason: d.Err.Error()}},
		)
	}
	return rows
}
