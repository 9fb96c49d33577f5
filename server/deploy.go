package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/plugins"
	"github.com/nodeserver/nodeserver/server/session"
	"github.com/nodeserver/nodeserver/webapps"
)

// app is one deployed webapp: its handler, its sessions, and its place.
type app struct {
	name     string
	version  string
	path     string // with a slash at its end
	node     string
	origin   string // file of the plugin, or "compiled in"
	handler  http.Handler
	sessions *session.App
	manager  *deltamanager.Manager
	group    *group
	log      *slog.Logger
	config   map[string]any
	done     context.Context //nolint:containedctx // the app's life, handed to it as Context.Done
	end      context.CancelFunc
}

// ServeHTTP leads the request through the pipeline to the app's handler.
func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.sessions.Serve(a.handler, w, r) }

var appName = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// group lets a manager wake the channel, and the channel call the manager: each
// speaks its own words (a manager knows no channel).
type group struct {
	topic   atomic.Pointer[channel.Topic] // nil before the node runs
	manager *deltamanager.Manager
}

// Wake implements deltamanager.Group.
func (g *group) Wake(to membership.ID, bulk, urgent bool) {
	if t := g.topic.Load(); t != nil {
		t.Wake(to, class(bulk), urgent)
	}
}

func class(bulk bool) channel.Class {
	if bulk {
		return channel.Bulk
	}
	return channel.Live
}

// Connected and the other methods implement channel.Handler.
func (g *group) Connected(m membership.Member) { g.manager.Connected(m.ID) }

// Disconnected implements channel.Handler.
func (g *group) Disconnected(id membership.ID) { g.manager.Disconnected(id) }

// Gone implements channel.Handler.
func (g *group) Gone(id membership.ID) { g.manager.Gone(id) }

// Pull implements channel.Handler.
func (g *group) Pull(to membership.ID, c channel.Class) []byte {
	return g.manager.Pull(to, c == channel.Bulk)
}

// Receive implements channel.Handler.
func (g *group) Receive(from membership.ID, c channel.Class, payload []byte) {
	g.manager.Receive(from, c == channel.Bulk, payload)
}

// place makes an app's place: settings, sessions, topic. It does not call the
// app's New yet.
func (s *Server) place(w webapps.App, origin string) *app {
	settings := s.settings(w.Name)
	a := &app{
		name: w.Name, version: w.Version, origin: origin, node: s.cfg.Node.Name, config: settings.Config,
		path: settings.Path, log: s.log.With("app", w.Name),
	}
	a.done, a.end = context.WithCancel(s.appLife)
	a.group = new(group)
	a.sessions = session.New(session.Config{
		App: a.name, Path: a.path, Node: a.node, Cookie: s.cfg.Sessions.CookieName, Secure: s.cfg.HTTP.TLSCert != "",
		Expose: s.cfg.HTTP.ExposeNode, Fresh: s.cfg.Sessions.Freshness != "off", MaxBody: int64(s.cfg.HTTP.MaxBodyBytes),
		NewPerAddress: s.cfg.Sessions.NewPerAddress, Sessions: s.managerConfig(settings),
	}, members{s}, a.group, a.log)
	a.manager = a.sessions.Manager()
	a.group.manager = a.manager
	return a
}

// start calls the app's New.
func (a *app) start(create func(webapps.Context) (http.Handler, error)) error {
	h, err := plugins.Guard(newLimit, "its New function", func() (http.Handler, error) { return create(&appContext{a}) })
	if err == nil && noHandler(h) {
		err = errors.New("its New function returned no handler, and no error")
	}
	if err != nil {
		a.end() // for what New has begun, or still does
		return fmt.Errorf("%s: start app %s: %w", a.origin, a.name, err)
	}
	a.handler = h
	return nil
}

// newLimit is how long an app's New may take.
const newLimit = 30 * time.Second

// noHandler tells whether nothing can be served by h: nil, also in the types of
// handlers that net/http has.
func noHandler(h http.Handler) bool {
	switch h := h.(type) {
	case nil:
		return true
	case http.HandlerFunc:
		return h == nil
	case *http.ServeMux:
		return h == nil
	}
	return false
}

// settings are an app's own, with everything else filled in.
func (s *Server) settings(name string) AppConfig {
	c := AppConfig{Name: name}
	for _, o := range s.cfg.Apps {
		if o.Name == name {
			c = o
		}
	}
	if c.Path == "" {
		c.Path = "/" + name + "/"
		if name == "root" {
			c.Path = "/"
		}
	}
	if c.Acks == "" {
		c.Acks = s.cfg.Replication.Acks
	}
	if c.MaxInactive == 0 {
		c.MaxInactive = s.cfg.Sessions.MaxInactive
	}
	return c
}

// appContext is a webapps.Context.
type appContext struct{ a *app }

var (
	_ webapps.Context  = (*appContext)(nil)
	_ webapps.Sessions = (*appContext)(nil)
	_ webapps.Events   = (*appContext)(nil)
)

func (c *appContext) Name() string          { return c.a.name }
func (c *appContext) Path() string          { return c.a.path }
func (c *appContext) Node() string          { return c.a.node }
func (c *appContext) Logger() *slog.Logger  { return c.a.log }
func (c *appContext) Done() <-chan struct{} { return c.a.done.Done() }
func (c *appContext) SessionCount() int     { return int(c.a.manager.Stats().Sessions) }

// Config implements webapps.Context by way of JSON, which keeps package webapps
// free of TOML.
func (c *appContext) Config(into any) error {
	settings := c.a.config
	if settings == nil {
		settings = map[string]any{}
	}
	b, err := json.Marshal(settings)
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		err = d.Decode(into)
	}
	if err != nil {
		return fmt.Errorf("settings of app %s ([[app]] config): %w", c.a.name, err)
	}
	return nil
}

// NewSession implements webapps.Sessions.
func (c *appContext) NewSession() (webapps.Session, error) { return c.a.sessions.NewSession() }

// Listen implements webapps.Events.
func (c *appContext) Listen(l webapps.Listener) { c.a.sessions.Listen(l) }
