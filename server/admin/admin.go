// Package admin answers operators: whether the node lives and is ready, who is a member, what
// it counts. It asks the node by the interface Node, and the table of apps.
package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/pprof"

	"github.com/nodeserver/nodeserver/channel/listen"
	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/cluster"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/deploy"
)

// Config says whose listener for operators it is.
type Config struct {
	Admin  config.Admin
	ID     membership.ID // the node's
	Domain string        // the node's
}

// Node is what operators want to know of the node. Safe for concurrent use.
type Node interface {
	Ready() bool
	// Draining tells whether the node has begun to stop.
	Draining() bool
	// Probed notes that somebody has asked whether the node is ready.
	Probed()
	// Waiting is what the node waits for before it gets the sessions; empty: nothing.
	Waiting() string
	// Requests is how many the listener for users has taken.
	Requests() int64
	// Members are those that the node knows, itself included.
	Members() []membership.Status
	Providers() []membership.Provider
	// Listeners are the node's, by what they are for.
	Listeners() map[string]*listen.Listener
}

type admin struct {
	cfg  Config
	node Node
	apps *deploy.Table
}

// Handler answers operators: /livez and /readyz for all; for those with the token of
// admin.token_file, which it reads now, /metrics, /api/v1/members, /api/v1/apps and /debug/pprof/.
func Handler(c Config, node Node, apps *deploy.Table) (http.Handler, error) {
	a := &admin{cfg: c, node: node, apps: apps}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", a.readyz)
	guarded := http.NewServeMux()
	guarded.Handle("GET /metrics", newMetrics(a).handler())
	guarded.HandleFunc("GET /api/v1/members", a.serveMembers)
	guarded.HandleFunc("GET /api/v1/apps", a.serveApps)
	guarded.HandleFunc("/debug/pprof/", pprof.Index)
	guarded.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	guarded.HandleFunc("/debug/pprof/profile", pprof.Profile)
	guarded.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	guarded.HandleFunc("/debug/pprof/trace", pprof.Trace)
	operators, err := cluster.ForOperators(c.Admin, guarded)
	mux.Handle("/", operators)
	return mux, err
}

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
