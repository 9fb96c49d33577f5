package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/deploy"
)

// WhereReply is what /api/v1/sessions/{id}/where answers: what each member has of a session.
type WhereReply struct {
	Schema string    `json:"schema"` // nodeserver.where/1
	Node   string    `json:"node"`
	ID     string    `json:"id"`
	Same   bool      `json:"same"`   // all that have answered and host the app have the same
	Copies []CopyRow `json:"copies"` // by node
}

// CopyRow is what one member has of a session.
type CopyRow struct {
	Node       string        `json:"node"`
	Problem    string        `json:"problem,omitempty"` // why it has not answered
	Here       bool          `json:"here"`              // it has the session
	App        string        `json:"app,omitempty"`
	LastAccess *time.Time    `json:"last_access,omitempty"`
	Stamp      string        `json:"stamp,omitempty"` // of the newest write: clock and writer, hex
	Sum        string        `json:"sum,omitempty"`   // hex; equal sums: equal attributes
	Attributes []CopyAttrRow `json:"attributes,omitempty"`
}

// CopyAttrRow is an attribute of a copy.
type CopyAttrRow struct {
	Name    string `json:"name"`
	Stamp   string `json:"stamp"` // of its latest write
	Bytes   int    `json:"bytes"`
	Removed bool   `json:"removed,omitempty"`
}

// SessionCopy is what a node has of a session, for other members.
func SessionCopy(c Config, apps *deploy.Table, k deltamanager.Key) CopyRow {
	row := CopyRow{Node: c.ID.Name}
	for p := range apps.Each() {
		found, ok := p.Manager().Copy(k)
		if !ok {
			continue
		}
		row.Here, row.App, row.LastAccess = true, p.Name(), &found.LastAccess
		row.Stamp, row.Sum = stampText(found.Stamp), fmt.Sprintf("%016x", found.Sum)
		for _, g := range found.Registers {
			row.Attributes = append(row.Attributes, CopyAttrRow{g.Name, stampText(g.Stamp), len(g.Value), g.Value == nil})
		}
		break
	}
	return row
}

func stampText(s deltamanager.Stamp) string { return fmt.Sprintf("%x.%016x", s.Clock, s.Incarnation) }

func (a *admin) serveWhere(w http.ResponseWriter, r *http.Request) {
	reply, err := a.where(r.Context(), r.PathValue("id"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer(w, reply)
}

func (a *admin) where(ctx context.Context, id string) (WhereReply, error) {
	k, err := deltamanager.ParseKey(id)
	if err != nil {
		return WhereReply{}, err
	}
	reply := WhereReply{Schema: "nodeserver.where/1", Node: a.cfg.ID.Name, ID: k.String(), Copies: a.copies(ctx, k)}
	reply.Same = same(reply.Copies)
	return reply, nil
}

// copies asks all members.
func (a *admin) copies(ctx context.Context, k deltamanager.Key) []CopyRow {
	rows := askAll(ctx, a.followed(true), func(ctx context.Context, m membership.Status) CopyRow { return a.copyAt(ctx, m, k) })
	slices.SortFunc(rows, func(x, y CopyRow) int { return cmp.Compare(x.Node, y.Node) })
	return rows
}

func (a *admin) copyAt(ctx context.Context, m membership.Status, k deltamanager.Key) (row CopyRow) {
	if m.ID == a.cfg.ID {
		return SessionCopy(a.cfg, a.apps, k)
	}
	body, err := a.node.SessionOf(ctx, m.Member, k)
	if err == nil {
		err = json.Unmarshal(body, &row)
	}
	row.Node = m.Name
	if err != nil {
		row.Problem = noAnswer(ctx, err)
	}
	return row
}

// same tells whether those that have answered have the same.
func same(rows []CopyRow) bool {
	answered := slices.DeleteFunc(slices.Clone(rows), func(r CopyRow) bool { return r.Problem != "" })
	return !slices.ContainsFunc(answered, func(r CopyRow) bool { return r.Here != answered[0].Here || r.Sum != answered[0].Sum })
}
