package admin

import (
	"context"
	"time"
)

// View is what a node shows of itself and of its cluster, for pages. Safe for concurrent use.
type View struct{ admin *admin }

// Cluster is what all members say of themselves; it takes a second at most.
func (v View) Cluster(ctx context.Context) ClusterReply { return v.admin.cluster(ctx) }

// Drain tells whether the node gives its users away, and how far it is.
func (v View) Drain() DrainReply { return v.admin.drainReply() }

// SetDraining has the node give its users away, or take them back. An error: it is about to
// stop.
func (v View) SetDraining(on bool) error { return v.admin.node.SetDraining(on) }

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
