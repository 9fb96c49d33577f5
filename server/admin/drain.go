package admin

import (
	"fmt"
	"net/http"
	"time"

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

func (a *admin) serveDrain(w http.ResponseWriter, r *http.Request) {
	if a.isHere(w, r) {
		answer(w, a.drainReply())
	}
}

func (a *admin) setDraining(on bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !a.isHere(w, r) {
			return
		}
		if err := a.node.SetDraining(on); err != nil {
			operators.ActOf(r.Context()).Note("err", err)
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		answer(w, a.drainReply())
	}
}

// isHere tells whether the request is for this node, and answers it if not.
func (a *admin) isHere(w http.ResponseWriter, r *http.Request) bool {
	name := r.FormValue("node")
	if name == "" || name == a.cfg.ID.Name {
		return true
	}
	http.Error(
		w,
		fmt.Sprintf("this is %s, not %.64q: ask that node at its own admin address (--admin)", a.cfg.ID.Name, name),
		http.StatusNotFound,
	)
	return false
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
