// Package admin answers operators: whether the node lives and is ready, who is a member, what
// it counts. It asks the node by the interface Node, and the table of apps.
package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/channel/listen"
	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/deploy"
	"github.com/nodeserver/nodeserver/server/events"
	"github.com/nodeserver/nodeserver/server/operators"
)

// Config says whose listener for operators it is.
type Config struct {
	Admin      config.Admin
	SecretFile string        // the cluster's secret, which must be no token; empty: none
	ID         membership.ID // the node's
	Domain     string        // the node's
	Cluster    string        // its name
	Cookie     string        // name of session cookies
	Version    string        // the node's
	Since      time.Time     // when the node started

	// Pages are further routes, for browsers, which show what the view has; nil: none.
	Pages    func(View) []operators.Route
	Browsers *operators.Browsers // that may log in; nil: none

	Level *slog.LevelVar // of the node's log; nil: it can't be changed
}

// Node is what operators want to know of the node. Safe for concurrent use.
type Node interface {
	Ready() bool
	// Draining tells whether the node gives its users away: it stops, or was asked to.
	Draining() bool
	// SetDraining has the node do so, or take its users back. An error: it is about to stop.
	SetDraining(on bool) error
	// DrainedSince is when an operator asked for it; the zero time: nobody has.
	DrainedSince() time.Time
	// InFlight is how many requests of users are being served.
	InFlight() int64
	// Probed notes that somebody has asked whether the node is ready.
	Probed()
	// Waiting is what the node waits for before it gets the sessions; empty: nothing.
	Waiting() string
	// Requests is how many the listener for users has taken.
	Requests() int64
	// Members are those that the node knows, itself included.
	Members() []membership.Status
	Providers() []membership.Provider
	// ConfDigest is equal where nodes were told the same, but for their names and addresses.
	ConfDigest() string
	// ReportOf asks another member for its NodeReport, as JSON.
	ReportOf(ctx context.Context, m membership.Member) ([]byte, error)
	// Events are what happened at the node; EventsOf hands over those of another member after the
	// position, and with follow those to come, until ctx ends, the member is gone, or to fails.
	Events() *events.Ring
	EventsOf(ctx context.Context, m membership.Member, after events.Position, follow bool, to func(events.Event) error) error
	// DrainOf asks another member for its DrainReply, as JSON, and has it drain or not before, for the
	// operator, unless on is nil.
	DrainOf(ctx context.Context, m membership.Member, on *bool, operator string) ([]byte, error)
	// SessionOf asks another member what it has of a session: a CopyRow, as JSON.
	SessionOf(ctx context.Context, m membership.Member, k deltamanager.Key) ([]byte, error)
	// Listeners are the node's, by what they are for.
	Listeners() map[string]*listen.Listener
}

type admin struct {
	cfg  Config
	node Node
	apps *deploy.Table
	farm *deploy.Farm // nil: node.data_dir is not set

	followers atomic.Int64 // of events
}

// Handler answers operators, as its routes say. It reads the tokens that the conf names now.
func Handler(c Config, node Node, apps *deploy.Table, farm *deploy.Farm, log *slog.Logger) (*operators.Guard, error) {
	a := &admin{cfg: c, node: node, apps: apps, farm: farm}
	guard := operators.Config{Admin: c.Admin, SecretFile: c.SecretFile, Names: []string{c.ID.Name}, Browsers: c.Browsers}
	routes := a.routes()
	if c.Pages != nil {
		routes = append(routes, c.Pages(View{a})...)
	}
	return operators.New(guard, log, routes)
}

// routes are all that there is at the address for operators: who may call it, and what
// answers.
func (a *admin) routes() []operators.Route {
	list := []operators.Route{
		{Method: "GET", Path: "/livez", Role: operators.Anyone, Handler: livez},
		{Method: "GET", Path: "/readyz", Role: operators.Anyone, Handler: a.readyz},
		{Method: "GET", Path: "/metrics", Role: operators.Viewer, Handler: newMetrics(a).ServeHTTP},
		{Method: "GET", Path: "/api/v1/openapi.json", Role: operators.Viewer, Handler: serveOpenAPI},
		{Method: "GET", Path: "/api/v1/members", Role: operators.Viewer, Handler: a.serveMembers},
		{Method: "GET", Path: "/api/v1/cluster", Role: operators.Viewer, Handler: a.serveCluster},
		{Method: "GET", Path: "/api/v1/events", Role: operators.Viewer, Handler: a.serveEvents},
		{Method: "GET", Path: "/api/v1/sessions", Role: operators.Viewer, Handler: a.serveSessions},
		{Method: "GET", Path: "/api/v1/sessions/{id}", Role: operators.Viewer, Handler: a.showSession(false)},
		{Method: "GET", Path: "/api/v1/sessions/{id}/where", Role: operators.Viewer, Handler: a.serveWhere},
		{
			Method: "POST", Path: "/api/v1/sessions/{id}/values", Role: operators.Operator, Action: "read values",
			Handler: a.showSession(true),
		},
		{Method: "POST", Path: "/api/v1/expire", Role: operators.Operator, Action: "expire", Handler: a.expireSessions},
		{Method: "GET", Path: "/api/v1/apps", Role: operators.Viewer, Handler: a.serveApps},
		{Method: "POST", Path: "/api/v1/apps", Role: operators.Operator, Action: "deploy", Handler: a.changes(deployed)},
		{
			Method:  "POST",
			Path:    "/api/v1/apps/{app}/rollback",
			Role:    operators.Operator,
			Action:  "rollback",
			Handler: a.changes(named((*deploy.Farm).Rollback)),
		},
		{
			Method:  "POST",
			Path:    "/api/v1/apps/{app}/undeploy",
			Role:    operators.Operator,
			Action:  "undeploy",
			Handler: a.changes(named((*deploy.Farm).Undeploy)),
		},
		{
			Method: "POST", Path: "/api/v1/apps/{app}/stop", Role: operators.Operator, Action: "stop",
			Handler: a.changes(named((*deploy.Farm).Stop)),
		},
		{
			Method: "POST", Path: "/api/v1/apps/{app}/start", Role: operators.Operator, Action: "start",
			Handler: a.changes(named((*deploy.Farm).Start)),
		},
		{Method: "GET", Path: "/api/v1/drain", Role: operators.Viewer, Handler: a.drain(nil)},
		{Method: "POST", Path: "/api/v1/drain", Role: operators.Operator, Action: "drain", Handler: a.drain(new(true))},
		{Method: "DELETE", Path: "/api/v1/drain", Role: operators.Operator, Action: "undrain", Handler: a.drain(new(false))},
	}
	list = append(list, a.logLevelRoutes()...)
	return append(list, profiles(a.cfg.Admin.PProf)...)
}

func livez(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

func answer(w http.ResponseWriter, reply any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(reply) // an operator who hung up needs no answer
}

func (a *admin) readyz(w http.ResponseWriter, _ *http.Request) {
	a.node.Probed()
	switch {
	case a.node.Draining():
		http.Error(w, "draining", http.StatusServiceUnavailable)
	case !a.node.Ready() && a.node.Waiting() != "":
		http.Error(w, "not ready: "+a.node.Waiting(), http.StatusServiceUnavailable)
	case !a.node.Ready():
		http.Error(w, "not ready: the sessions of the other members are still on their way", http.StatusServiceUnavailable)
	default:
		fmt.Fprintln(w, "ready")
		for _, d := range a.apps.Down() { // the reasons are not for everybody
			fmt.Fprintf(w, "not served: app %q, see the log\n", d.Name)
		}
	}
}
