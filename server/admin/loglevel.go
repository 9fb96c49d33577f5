package admin

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/operators"
)

// LogLevelReply is what /api/v1/log-level answers.
type LogLevelReply struct {
	Schema string `json:"schema"` // nodeserver.log-level/1
	Node   string `json:"node"`   // the one that answers
	Level  string `json:"level"`  // debug, info, warn, error
}

// logLevelRoutes are for the level of the node's log.
func (a *admin) logLevelRoutes() []operators.Route {
	return []operators.Route{
		{Method: "GET", Path: "/api/v1/log-level", Role: operators.Viewer, Handler: a.serveLogLevel},
		{Method: "POST", Path: "/api/v1/log-level", Role: operators.Operator, Action: "log-level", Handler: a.setLogLevel},
	}
}

func (a *admin) serveLogLevel(w http.ResponseWriter, _ *http.Request) {
	if a.cfg.Level == nil {
		http.Error(w, "the program that this node is a part of sets the level of its log", http.StatusNotImplemented)
		return
	}
	answer(w, LogLevelReply{
		Schema: "nodeserver.log-level/1", Node: a.cfg.ID.Name, Level: strings.ToLower(a.cfg.Level.Level().String()),
	})
}

// setLogLevel sets the level that ?level= names, until it is set again, the configuration is read
// again, or the node ends.
func (a *admin) setLogLevel(w http.ResponseWriter, r *http.Request) {
	var level config.LogLevel
	if err := level.UnmarshalText([]byte(r.URL.Query().Get("level"))); err != nil {
		http.Error(w, fmt.Sprintf("level: %v", err), http.StatusBadRequest)
		return
	}
	operators.ActOf(r.Context()).Note("level", string(level))
	if a.cfg.Level != nil {
		a.cfg.Level.Set(level.Level())
	}
	a.serveLogLevel(w, r)
}
