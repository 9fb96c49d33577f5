package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"

	"github.com/nodeserver/nodeserver/server/deploy"
	"github.com/nodeserver/nodeserver/server/operators"
)

// DeployStep is one line of what /api/v1/apps answers to a change; the last one is Done.
type DeployStep struct {
	Schema  string            `json:"schema"` // nodeserver.deploy/1
	Node    string            `json:"node,omitempty"`
	Text    string            `json:"text,omitempty"` // what was done there
	Done    bool              `json:"done,omitempty"`
	App     string            `json:"app,omitempty"`
	Version string            `json:"version,omitempty"` // that all nodes serve now; empty: none
	Hash    string            `json:"hash,omitempty"`
	Stopped bool              `json:"stopped,omitempty"` // users are not served until the app is started
	Error   string            `json:"error,omitempty"`
	Reasons map[string]string `json:"reasons,omitempty"` // by node, if nothing was changed because of them
}

// change is one that an operator asks for.
type change func(f *deploy.Farm, r *http.Request, q deploy.Request) (deploy.Entry, error)

// changes answers with the steps of a change, each at once.
func (a *admin) changes(do change) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if a.farm == nil {
			http.Error(w, deploy.ErrNoStore.Error(), http.StatusConflict)
			return
		}
		act, out := operators.ActOf(r.Context()), steps{w: w}
		w.Header().Set("Content-Type", "application/x-ndjson")
		e, err := do(a.farm, r, deploy.Request{
			Operator: act.Actor.Name, SkipUnreachable: r.URL.Query().Get("skip_unreachable") == "true",
			Step: func(node, text string) { out.write(DeployStep{Node: node, Text: text}) },
		})
		last := DeployStep{Done: true, App: e.App, Version: e.Build.Version, Hash: e.Build.Hash, Stopped: e.Stopped}
		act.Note("app", e.App)
		act.Note("hash", e.Build.Hash)
		if err != nil {
			act.Fail(err)
			last.Error = err.Error()
			if refused, ok := errors.AsType[*deploy.Refused](err); ok {
				last.Reasons = refused.Reasons
			}
		}
		out.write(last)
	}
}

// steps writes lines, each at once.
type steps struct {
	mu sync.Mutex
	w  http.ResponseWriter
}

func (s *steps) write(d DeployStep) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.Schema = "nodeserver.deploy/1"
	_ = json.NewEncoder(s.w).Encode(d) // an operator who hung up needs no answer
	_ = http.NewResponseController(s.w).Flush()
}

// deployed is the change by a file in the request's body.
func deployed(f *deploy.Farm, r *http.Request, q deploy.Request) (deploy.Entry, error) {
	q.Version = r.URL.Query().Get("version")
	return f.Deploy(r.Context(), r.Body, q)
}

// named is a change of the app that the request's path names.
func named(do func(*deploy.Farm, context.Context, string, deploy.Request) (deploy.Entry, error)) change {
	return func(f *deploy.Farm, r *http.Request, q deploy.Request) (deploy.Entry, error) {
		return do(f, r.Context(), r.PathValue("app"), q)
	}
}
