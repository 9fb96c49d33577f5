package console

import (
	"context"
	"errors"
	"html/template"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/deploy"
	"github.com/nodeserver/nodeserver/server/operators"
)

// apps is what the page of webapps shows.
type apps struct {
	Nodes []string
	Apps  []appRow
	Farm  bool // they can be deployed here
}

// appRow is an app over all nodes.
type appRow struct {
	Name, Path string
	Nodes      []appAt       // as apps.Nodes
	Entry      *deploy.Entry // of the catalog; nil: it is not from there
	Problems   []problem
}

// appAt is an app at one node.
type appAt struct {
	State    mark
	Version  string
	Revision string
	Sessions int64
	InFlight int64
	Here     bool
}

type problem struct{ Node, Reason string }

func (c *Console) webapps(w http.ResponseWriter, r *http.Request) {
	reply := c.node.Cluster(r.Context())
	data := apps{Farm: c.cfg.Farm != nil}
	list := map[string]*appRow{}
	for i, n := range rows(reply) {
		data.Nodes = append(data.Nodes, n.Name)
		if n.Report == nil {
			continue
		}
		for _, a := range n.Report.Apps {
			row := list[a.Name]
			if row == nil {
				row = &appRow{Name: a.Name, Path: a.Path}
				list[a.Name] = row
			}
			row.at(i, n.Name, a)
		}
	}
	if c.cfg.Farm != nil {
		for _, e := range c.cfg.Farm.Catalog() {
			if row := list[e.App]; row != nil {
				row.Entry = &e
			} else if len(e.History) > 0 {
				list[e.App] = &appRow{Name: e.App, Entry: &e}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(list)) {
		row := list[name]
		for len(row.Nodes) < len(data.Nodes) {
			row.Nodes = append(row.Nodes, appAt{State: mark{"not here", "none"}})
		}
		data.Apps = append(data.Apps, *row)
	}
	c.show(w, r, http.StatusOK, "webapps.html", "Webapps", data)
}

// at notes the app at node number i.
func (row *appRow) at(i int, node string, a admin.AppRow) {
	for len(row.Nodes) <= i {
		row.Nodes = append(row.Nodes, appAt{State: mark{"not here", "none"}})
	}
	state := mark{a.State, "warn"}
	switch a.State {
	case "serving":
		state.Kind = "good"
	case "down":
		state.Kind = "bad"
	}
	row.Nodes[i] = appAt{State: state, Version: a.Version, Revision: a.Revision, Sessions: a.Sessions, InFlight: a.InFlight, Here: true}
	if a.Problem != nil {
		row.Problems = append(row.Problems, problem{node, a.Problem.Reason})
	}
}

// deploy makes all nodes serve the plugin that is the form's file.
func (c *Console) deploy(w http.ResponseWriter, r *http.Request) {
	act := operators.ActOf(r.Context())
	if c.cfg.Farm == nil {
		c.wrong(w, r, http.StatusConflict, deploy.ErrNoStore.Error())
		return
	}
	if act.Form == nil {
		c.wrong(w, r, http.StatusBadRequest, "this is not the form of the page: its first field is csrf, its last is the file")
		return
	}
	skip := false
	for {
		part, err := act.Form.NextPart()
		if err != nil {
			c.wrong(w, r, http.StatusBadRequest, "no file has come: choose one that nodeserver build made, NAME.so")
			return
		}
		if part.FormName() == "skip_unreachable" {
			skip = true
			continue
		}
		if part.FormName() == "plugin" {
			if part.FileName() == "" {
				c.wrong(w, r, http.StatusBadRequest, "no file was chosen: choose one that nodeserver build made, NAME.so")
				return
			}
			c.steps(w, r, skip, "Deploy", func(ctx context.Context, q deploy.Request) (deploy.Entry, error) {
				q.Version = deploy.VersionOf(part.FileName())
				return c.cfg.Farm.Deploy(ctx, part, q)
			})
			return
		}
	}
}

// onApp is a change of the app that the form names.
func (c *Console) onApp(do func(w http.ResponseWriter, r *http.Request, app string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if c.cfg.Farm == nil {
			c.wrong(w, r, http.StatusConflict, deploy.ErrNoStore.Error())
			return
		}
		do(w, r, r.PostFormValue("app"))
	}
}

func (c *Console) rollback(w http.ResponseWriter, r *http.Request, app string) {
	c.steps(w, r, r.PostFormValue("skip_unreachable") != "", "Roll back "+app,
		func(ctx context.Context, q deploy.Request) (deploy.Entry, error) {
			return c.cfg.Farm.Rollback(ctx, app, q)
		})
}

func (c *Console) undeploy(w http.ResponseWriter, r *http.Request, app string) {
	c.steps(w, r, r.PostFormValue("skip_unreachable") != "", "Undeploy "+app,
		func(ctx context.Context, q deploy.Request) (deploy.Entry, error) {
			return c.cfg.Farm.Undeploy(ctx, app, q)
		})
}

// steps does a deployment and shows each step as soon as it is done, on one page that grows:
// no script is needed for that.
func (c *Console) steps(
	w http.ResponseWriter, r *http.Request, skip bool, title string,
	do func(context.Context, deploy.Request) (deploy.Entry, error),
) {
	act := operators.ActOf(r.Context())
	act.Note("by", "console")
	headers(w)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	page := &growing{w: w}
	page.write("steps-begin", c.frame(r, title, nil))
	e, err := do(r.Context(), deploy.Request{
		Operator: act.Actor.Name, SkipUnreachable: skip,
		Step: func(node, text string) { page.write("step", problem{node, text}) },
	})
	act.Note("app", e.App)
	act.Note("hash", e.Build.Hash)
	result := outcome{App: e.App, Version: e.Build.Version, Gone: e.Build.Hash == ""}
	if err != nil {
		act.Fail(err)
		result.Error = err.Error()
		if refused, ok := errors.AsType[*deploy.Refused](err); ok {
			result.Error = "Nothing was changed on any node."
			for _, node := range slices.Sorted(maps.Keys(refused.Reasons)) {
				result.Reasons = append(result.Reasons, problem{node, refused.Reasons[node]})
			}
		}
	}
	page.write("steps-end", result)
}

// outcome is how a deployment ended.
type outcome struct {
	App, Version string
	Gone         bool   // the app was undeployed
	Error        string // empty: it was done
	Reasons      []problem
}

// growing is a page of which a part is sent at a time.
type growing struct {
	mu sync.Mutex
	w  http.ResponseWriter
}

func (g *growing) write(name string, data any) {
	var part strings.Builder
	if err := templates.ExecuteTemplate(&part, name, data); err != nil {
		part.WriteString(template.HTMLEscapeString(err.Error()))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	_, _ = io.WriteString(g.w, part.String()) // an operator who hung up needs no answer
	_ = http.NewResponseController(g.w).Flush()
}
