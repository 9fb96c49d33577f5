package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/deploy"
	"github.com/nodeserver/nodeserver/server/operators"
)

// DrainReply is what /api/v1/drain answers: whether a node gives its users away, and how far
// it is.
type DrainReply struct {
	Schema   string     `json:"schema"` // nodeserver.drain/1
	Node     string     `json:"node"`
	Draining bool       `json:"draining"`
	Since    *time.Time `json:"since,omitempty"` // when an operator asked for it; none: the node stops, or serves
	InFlight int64      `json:"in_flight"`       // requests of users that are being served
	// Changes that some member has not confirmed yet, of the member that lacks most.
	Changes int `json:"changes"`
	// Whether all members have all that they share with the node: nothing is lost if it ends.
	HandedOver bool `json:"handed_over"`
	// Sessions of apps that no other member hosts: they end with the node.
	Unshared int64 `json:"unshared"`
}

// drainTime is how long another member may take to answer.
const drainTime = 4 * time.Second

// drain says how far a node is with giving its users away, and has it do so or not before, unless
// on is nil. Without a name in the query that is this node, else any member.
func (a *admin) drain(on *bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		act := operators.ActOf(r.Context())
		name := r.FormValue("node")
		if name == "" || name == a.cfg.ID.Name {
			reply, err := a.drainHere(on)
			if err != nil {
				act.Note("err", err)
				http.Error(w, err.Error(), http.StatusConflict)
				return
			}
			answer(w, reply)
			return
		}
		act.Note("member", short(name))
		status, err := a.drainThere(w, r, name, on, act)
		if err != nil {
			act.Note("err", err)
			http.Error(w, err.Error(), status)
		}
	}
}

// drainThere passes the request on to another member.
func (a *admin) drainThere(w http.ResponseWriter, r *http.Request, name string, on *bool, act *operators.Act) (status int, err error) {
	operator := ""
	if act != nil {
		operator = act.Actor.Name
	}
	reply, err := a.drainMember(r.Context(), name, on, operator)
	switch _, unseen := errors.AsType[*unseenError](err); {
	case unseen:
		return http.StatusNotFound, fmt.Errorf("%w: `nodeserver members` lists them", err)
	case err != nil:
		return http.StatusBadGateway, fmt.Errorf("%s: %w", name, err)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(reply) // an operator who hung up needs no answer
	return http.StatusOK, nil
}

// drainMember has another member give its users away or not, for the operator, unless on is nil, and
// returns its DrainReply, as it came. The error is an unseenError if there is no such member.
func (a *admin) drainMember(ctx context.Context, name string, on *bool, operator string) ([]byte, error) {
	members := a.node.Members()
	i := slices.IndexFunc(members, func(m membership.Status) bool { return m.Name == name && m.State != membership.Gone })
	if i < 0 {
		return nil, &unseenError{a.cfg.ID.Name, name}
	}
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	return a.node.DrainOf(ctx, members[i].Member, on, operator)
}

// unseenError says that the node sees no such member.
type unseenError struct{ node, member string }

func (e *unseenError) Error() string {
	return fmt.Sprintf("%s sees no member %q", e.node, short(e.member))
}

// short is a text of a stranger for messages.
func short(s string) string { return s[:min(len(s), 64)] }

// Drain says how far a node is with giving its users away, and has it do so or not before, unless on
// is nil. To be called once its channel is made.
func Drain(c Config, node Node, apps *deploy.Table, on *bool) (DrainReply, error) {
	a := &admin{cfg: c, node: node, apps: apps}
	return a.drainHere(on)
}

func (a *admin) drainHere(on *bool) (DrainReply, error) {
	if on != nil {
		if err := a.node.SetDraining(*on); err != nil {
			return DrainReply{}, err
		}
	}
	return a.drainReply(), nil
}

func (a *admin) drainReply() DrainReply {
	reply := DrainReply{
		Schema:     "nodeserver.drain/1",
		Node:       a.cfg.ID.Name,
		Draining:   a.node.Draining(),
		InFlight:   a.node.InFlight(),
		HandedOver: a.apps.Flushed(),
	}
	if since := a.node.DrainedSince(); !since.IsZero() {
		reply.Since = &since
	}
	for p := range a.apps.Each() {
		stats := p.Manager().Stats()
		if len(stats.Links) == 0 {
			reply.Unshared += stats.Sessions
		}
		for _, l := range stats.Links {
			reply.Changes = max(reply.Changes, l.Queue)
		}
	}
	return reply
}
