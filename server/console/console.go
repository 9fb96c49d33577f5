package console

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"path"
	"time"

	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/deploy"
	"github.com/nodeserver/nodeserver/server/events"
	"github.com/nodeserver/nodeserver/server/operators"
)

// Node is what the console shows, and what it can do. Safe for concurrent use.
type Node interface {
	Cluster(ctx context.Context) admin.ClusterReply
	// SetDraining has a member give its users away, or take them back, for the operator.
	SetDraining(ctx context.Context, node string, on bool, operator string) error
	// Events are those of all members by time, and the members that have not answered.
	Events(ctx context.Context) ([]events.Event, []admin.SilentRow)
	// Sessions is a page of the node's sessions: parameters as of /api/v1/sessions.
	Sessions(parameter func(string) string) (admin.SessionsReply, error)
	Session(id string, values bool) (admin.SessionReply, error)
	Where(ctx context.Context, id string) (admin.WhereReply, error)
	// Expire ends sessions on all nodes; in the context of a change.
	Expire(ctx context.Context, q admin.ExpireRequest) (int, error)
	Sample() admin.Sample
}

// Farm deploys apps on all nodes. Safe for concurrent use.
type Farm interface {
	Catalog() []deploy.Entry
	Deploy(ctx context.Context, plugin io.Reader, q deploy.Request) (deploy.Entry, error)
	Rollback(ctx context.Context, app string, q deploy.Request) (deploy.Entry, error)
	Undeploy(ctx context.Context, app string, q deploy.Request) (deploy.Entry, error)
}

// Config says whose console it is.
type Config struct {
	Name     string // the node's
	Cluster  string // the cluster's
	Version  string
	Browsers *operators.Browsers
	Farm     Farm // nil: node.data_dir is not set
	Info
}

// Console is the pages of one node. Its methods are safe for concurrent use.
type Console struct {
	cfg  Config
	node Node
	log  *slog.Logger
	past history
}

// New makes the console of a node.
func New(c Config, node Node, log *slog.Logger) *Console {
	return &Console{cfg: c, node: node, log: log}
}

// Run keeps what the charts show, until ctx ends.
func (c *Console) Run(ctx context.Context) {
	tick := time.NewTicker(sampleTime)
	defer tick.Stop()
	for {
		c.past.add(c.node.Sample())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

//go:embed templates static
var files embed.FS

// assets are the files of static, by name; version changes when one of them does.
var assets, version = readAssets()

func readAssets() (map[string][]byte, string) {
	list, sum := map[string][]byte{}, sha256.New()
	entries, err := files.ReadDir("static")
	if err != nil {
		panic(err) // it is built in
	}
	for _, e := range entries {
		b, err := files.ReadFile(path.Join("static", e.Name()))
		if err != nil {
			panic(err) // same
		}
		list[e.Name()] = b
		_, _ = sum.Write(b) // never fails
	}
	return list, hex.EncodeToString(sum.Sum(nil)[:8])
}

// Routes are all that a browser may ask for.
func (c *Console) Routes() []operators.Route {
	page := func(at string, h http.HandlerFunc) operators.Route {
		return operators.Route{Method: "GET", Path: at, Role: operators.Viewer, Handler: h, Refused: c.refused}
	}
	change := func(at, action string, h http.HandlerFunc) operators.Route {
		return operators.Route{
			Method: "POST", Path: at, Role: operators.Operator, Action: action, Handler: h, Refused: c.refused,
		}
	}
	own := func(method, at string, h http.HandlerFunc) operators.Route {
		return operators.Route{Method: method, Path: at, Own: true, Handler: h, Refused: c.refused}
	}
	list := []operators.Route{
		page("/{$}", c.overview),
		page("/sessions", c.sessions),
		page("/sessions/{id}", c.session),
		change("/sessions/{id}/values", "read values", c.values),
		change("/expire", "expire", c.expire),
		page("/webapps", c.webapps),
		page("/events", c.events),
		page("/node", c.process),
		change("/webapps/deploy", "deploy", c.deploy),
		change("/webapps/rollback", "rollback", c.onApp(c.rollback)),
		change("/webapps/undeploy", "undeploy", c.onApp(c.undeploy)),
		change("/drain", "drain", c.setDraining(true)),
		change("/undrain", "undrain", c.setDraining(false)),
		own("GET", "/login", c.login),
		own("POST", "/login", c.logIn),
		own("POST", "/logout", c.logOut),
		own("POST", "/theme", c.setTheme),
		{Method: "POST", Path: "/api/v1/console", Role: operators.Operator, Action: "console link", Handler: c.link},
	}
	if c.cfg.Kill != nil {
		list = append(list, change("/kill", "kill", c.kill))
	}
	for name := range assets {
		list = append(list, operators.Route{Method: "GET", Path: "/static/" + name, Handler: asset(name)})
	}
	return list
}

func asset(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		headers(w)
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable") // its address has the version
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(assets[name]))
	}
}

// policy is the content security policy of all pages.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func headers(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin") // with no-referrer, forms would come without Origin
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

var templates = template.Must(template.New("").Funcs(functions).ParseFS(files, "templates/*.html"))

// frame is what all pages have.
type frame struct {
	Title   string
	Page    string // its path
	Node    string
	Cluster string
	Version string // of the binary
	Assets  string // version of the assets
	Theme   string // dark, light; empty: as the system has it
	Actor   operators.Actor
	CSRF    string // empty: nobody is logged in
	Operate bool   // the sender may change things
	Pages   []link
	Notice  string // what was just done
	Data    any
}

type link struct{ Path, Text string }

var pages = []link{{"/", "Overview"}, {"/sessions", "Sessions"}, {"/webapps", "Webapps"}, {"/events", "Events"}, {"/node", "Node"}}

// show answers with a page.
func (c *Console) show(w http.ResponseWriter, r *http.Request, status int, name, title string, data any) {
	var page bytes.Buffer
	if err := templates.ExecuteTemplate(&page, name, c.frame(r, title, data)); err != nil {
		c.log.Error("page not made", "page", name, "err", err)
		http.Error(w, "this page could not be made, see the log", http.StatusInternalServerError)
		return
	}
	headers(w)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes()) // an operator who hung up needs no answer
}

func (c *Console) frame(r *http.Request, title string, data any) frame {
	caller := operators.CallerOf(r)
	return frame{
		Title: title, Page: r.URL.Path, Node: c.cfg.Name, Cluster: c.cfg.Cluster, Version: c.cfg.Version, Assets: version,
		Theme: themeOf(r), Actor: caller.Actor, CSRF: caller.CSRF, Operate: caller.CSRF != "" && caller.Actor.Role >= operators.Operator,
		Pages: pages, Notice: notices[r.URL.Query().Get("done")], Data: data,
	}
}

// notices are what a page says after a change, by the query parameter done.
var notices = map[string]string{
	"drain":   "The node gives its users away.",
	"undrain": "The node takes users again.",
	"expire":  "The sessions have ended, on all nodes.",
	"none":    "No session was chosen.",
	"kill":    "The node was killed. Its users go on at the other nodes.",
}

// done leads the browser back to a page after a change.
func done(w http.ResponseWriter, r *http.Request, to, what string) {
	headers(w)
	http.Redirect(w, r, to+"?done="+what, http.StatusSeeOther)
}

// wrong answers that a change was not made.
func (c *Console) wrong(w http.ResponseWriter, r *http.Request, status int, reason string) {
	operators.ActOf(r.Context()).Note("err", reason)
	c.show(w, r, status, "error.html", "Not done", reason)
}

// refused answers what the guard does not let through.
func (c *Console) refused(w http.ResponseWriter, r *http.Request, status int, reason string) {
	if status == http.StatusUnauthorized {
		c.show(w, r, status, "login.html", "Log in", login{})
		return
	}
	c.show(w, r, status, "error.html", "Not allowed", reason)
}
