package server

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nodeserver/nodeserver/channel/listen"
	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/control"
	"github.com/nodeserver/nodeserver/server/deploy"
	"github.com/nodeserver/nodeserver/server/events"
	"github.com/nodeserver/nodeserver/server/session"
)

// view is the server as its parts see it: what they declare that they need of the node.
type view struct{ server *Server }

var (
	_ session.Members = view{}
	_ admin.Node      = view{}
	_ control.Node    = view{}
)

// Serves implements session.Members: the node with this route serves this node's users of the app.
func (v view) Serves(app, route string) bool { return v.server.serves(app, route) }

// Ready implements admin.Node, as do the methods below.
func (v view) Ready() bool                            { return v.server.ready.Load() }
func (v view) Draining() bool                         { return v.server.drain.Begun() }
func (v view) SetDraining(on bool) error              { return v.server.setDraining(on) }
func (v view) DrainedSince() time.Time                { return v.server.drainedSince() }
func (v view) InFlight() int64                        { return v.server.inFlight() }
func (v view) Probed()                                { v.server.drain.Probed() }
func (v view) Waiting() string                        { return v.server.channel.Waiting() }
func (v view) Requests() int64                        { return v.server.requests.Load() }
func (v view) Members() []membership.Status           { return v.server.status() }
func (v view) Providers() []membership.Provider       { return v.server.providers }
func (v view) Listeners() map[string]*listen.Listener { return v.server.bounds }
func (v view) ConfDigest() string                     { return v.server.confDigest() }

// SessionOf implements admin.Node.
func (v view) SessionOf(ctx context.Context, m membership.Member, k deltamanager.Key) ([]byte, error) {
	return v.server.control.Session(ctx, m, k)
}

// Session implements control.Node.
func (v view) Session(key [16]byte) ([]byte, error) {
	return json.Marshal(admin.SessionCopy(v.server.adminConfig(), v.server.apps, key))
}

// Events implements admin.Node and control.Node.
func (v view) Events() *events.Ring { return v.server.events }

// EventsOf implements admin.Node.
func (v view) EventsOf(
	ctx context.Context, m membership.Member, after events.Position, follow bool, to func(events.Event) error,
) error {
	return v.server.control.Events(ctx, m, after, follow, to)
}

// ReportOf implements admin.Node.
func (v view) ReportOf(ctx context.Context, m membership.Member) ([]byte, error) {
	return v.server.control.Report(ctx, m)
}

// DrainOf implements admin.Node.
func (v view) DrainOf(ctx context.Context, m membership.Member, on *bool, operator string) ([]byte, error) {
	return v.server.control.Drain(ctx, m, on, operator)
}

// Here implements control.Node.
func (v view) Here() (deploy.Peer, error) {
	if v.server.farm == nil {
		return nil, deploy.ErrNoStore
	}
	return v.server.farm.Here(), nil
}

// Report implements control.Node.
func (v view) Report() ([]byte, error) {
	return json.Marshal(admin.Report(v.server.adminConfig(), v, v.server.apps))
}

// Drain implements control.Node. A change is in the audit log, as it is at the node that passed it on.
func (v view) Drain(on *bool, operator string, by membership.ID) ([]byte, error) {
	reply, err := admin.Drain(v.server.adminConfig(), v, v.server.apps, on)
	if on != nil {
		args := []any{"actor", operator, "action", map[bool]string{true: "drain", false: "undrain"}[*on], "from", "member " + by.Name}
		if err == nil {
			args = append(args, "result", "done")
		} else {
			args = append(args, "result", "failed", "err", err)
		}
		v.server.log.With("part", "admin").Info("audit", args...)
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(reply)
}
