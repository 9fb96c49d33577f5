package admin

import (
	"context"
	"time"

	"github.com/nodeserver/nodeserver/server/events"
)

// View is what a node shows of itself and of its cluster, for pages. Safe for concurrent use.
type View struct{ admin *admin }

// Cluster is what all members say of themselves; it takes a second at most.
func (v View) Cluster(ctx context.Context) ClusterReply { return v.admin.cluster(ctx) }

// SetDraining has a member give its users away, or take them back, for the operator.
func (v View) SetDraining(ctx context.Context, node string, on bool, operator string) error {
	if node == v.admin.cfg.ID.Name {
		_, err := v.admin.drainHere(&on)
		return err
	}
	_, err := v.admin.drainMember(ctx, node, &on, operator)
	return err
}

// Events are those of all members, by time, and the members that have not answered within a second.
func (v View) Events(ctx context.Context) ([]events.Event, []SilentRow) {
	return v.admin.eventsAfter(ctx, events.Positions{}, true)
}

// Sessions is a page of the sessions that the node has: parameters as of /api/v1/sessions.
func (v View) Sessions(parameter func(string) string) (SessionsReply, error) {
	return v.admin.sessions(parameter)
}

// Session is one session; values only for who may see them.
func (v View) Session(id string, values bool) (SessionReply, error) {
	return v.admin.session(id, values)
}

// Where is what each member has of a session; it takes a second at most.
func (v View) Where(ctx context.Context, id string) (WhereReply, error) {
	return v.admin.where(ctx, id)
}

// Expire ends sessions, on all nodes, and notes in the audit log which. In the context of a change.
func (v View) Expire(ctx context.Context, q ExpireRequest) (int, error) {
	return v.admin.expire(ctx, q)
}

// Sample is what the node counts, at one moment.
type Sample struct {
	At       time.Time
	Requests int64            // of users, since the start
	Bytes    int64            // of live payloads sent to members, since the start
	InFlight int64            // requests of users that are being served
	Sessions map[string]int64 // by app
	Queue    map[string]int   // changes that a member has not acknowledged: by member, of the app with most
}

// Sample counts now.
func (v View) Sample() Sample {
	s := Sample{
		At: time.Now(), Requests: v.admin.node.Requests(), InFlight: v.admin.node.InFlight(),
		Sessions: map[string]int64{}, Queue: map[string]int{},
	}
	for p := range v.admin.apps.Each() {
		stats := p.Manager().Stats()
		s.Sessions[p.Name()] = stats.Sessions
		s.Bytes += stats.BytesOut
		for _, l := range stats.Links {
			s.Queue[l.ID.Name] = max(s.Queue[l.ID.Name], l.Queue)
		}
	}
	return s
}
