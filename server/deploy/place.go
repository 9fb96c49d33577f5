package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/plugins"
	"github.com/nodeserver/nodeserver/server/session"
	"github.com/nodeserver/nodeserver/webapps"
)

// Place is what an app has on this node: name, path, sessions. It lives as long as the app
// is deployed, whichever revision of the app's code serves it. Safe for concurrent use.
type Place struct {
	name     string
	path     string // with a slash at its end
	node     string
	config   map[string]any
	log      *slog.Logger
	sessions *session.App
	group    *group
	current  atomic.Pointer[Revision] // nil until the first one has started
	failure  atomic.Pointer[Failure]  // of the latest redeployment; nil: none failed since one succeeded
	serving  requests

	mu       sync.Mutex      // one redeployment at a time
	resident map[string]bool // hashes of the revisions that are in the process, for good

	life    uint64       // of the app at this node, to the other members
	state   atomic.Int32 // a State, never Stopped
	halted  atomic.Bool  // by an operator, on all nodes
	emptied atomic.Int64 // when its last session ended, if it is a version that is left, as of the wall clock in ns; else 0
	stopped func()       // ends what run began, and waits for it; nil before
}

// State is how far an app is, from its deployment to its end.
type State int32

// States of an app.
const (
	Serving State = iota // users are served
	Joining              // it was deployed while the node ran, and gets its sessions from the other members
	Leaving              // it is being undeployed
	Stopped              // an operator has stopped it on all nodes; its sessions are kept
)

// String is the state in lower case.
func (s State) String() string { return [...]string{"serving", "joining", "leaving", "stopped"}[s] }

// State is how far the app is.
func (p *Place) State() State {
	s := State(p.state.Load())
	if s == Serving && p.halted.Load() {
		return Stopped
	}
	return s
}

// join gives the app's sessions their topic on the channel.
func (p *Place) join(ch *channel.Channel, domain string) {
	p.group.topic.Store(ch.Topic("session/"+p.name, p.life, p.group, func(m membership.Member) bool { return m.Domain == domain }))
}

// run lets the time of the app's sessions pass until ctx ends or the app does.
func (p *Place) run(ctx context.Context, all *sync.WaitGroup) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	all.Go(func() {
		defer close(ended)
		_ = p.Manager().Run(ctx) // ends with ctx
	})
	p.stopped = func() { cancel(); <-ended }
}

// Failure is why a revision was not taken over.
type Failure struct {
	At     time.Time
	Reason string
}

// Name is the app's.
func (p *Place) Name() string { return p.name }

// Path is where the app is served, with a slash at its end.
func (p *Place) Path() string { return p.path }

// Origin is where the app's code comes from: the plugin's file, or "compiled in".
func (p *Place) Origin() string { return p.current.Load().Origin }

// Hash is the SHA-256 of the plugin's file, in hex, if it comes from the catalog; else empty.
func (p *Place) Hash() string {
	hash, plugin := strings.CutSuffix(filepath.Base(p.Origin()), ".so")
	if !plugin || !aHash.MatchString(hash) {
		return ""
	}
	return hash
}

// Current is the revision that serves now.
func (p *Place) Current() *Revision { return p.current.Load() }

// Failed is why the latest redeployment was not done; nil: it was, or there was none.
func (p *Place) Failed() *Failure { return p.failure.Load() }

// Manager replicates the app's sessions.
func (p *Place) Manager() *deltamanager.Manager { return p.sessions.Manager() }

// Counts are of the app's requests since the node's start, whichever revision served them.
func (p *Place) Counts() session.Counts { return p.sessions.Counts() }

// Latencies says how long the app's requests took since the node's start.
func (p *Place) Latencies() []session.Latency { return p.sessions.Latencies() }

// Oldest is for how long the oldest request of those in flight has been served; 0: there is none.
func (p *Place) Oldest() time.Duration { return p.serving.oldest() }

// ServeHTTP leads the request through the session pipeline to the handler of the current
// revision, which serves it to its end.
func (p *Place) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.halted.Load() {
		session.Stopped(w, p.name)
		return
	}
	v := p.take()
	defer v.give()
	q := p.serving.begin()
	defer p.serving.end(q)
	pprof.SetGoroutineLabels(v.labels)         //nolint:contextcheck // labels of the goroutine, not of the request
	defer pprof.SetGoroutineLabels(unlabelled) //nolint:contextcheck // same
	p.sessions.Serve(q.began, v.handler, w, r)
}

// take begins a request at the current revision.
func (p *Place) take() *Revision {
	for {
		v := p.current.Load()
		v.inFlight.Add(1)
		if v == p.current.Load() { // else it may have been found idle before the request was counted
			return v
		}
		v.give()
	}
}

// swap makes the revision, which has started, the one that serves from now on: its handler
// gets the requests that begin, its listeners hear of the sessions. The channel closes when
// the revision before has no request any more; both are nil if there was none.
func (p *Place) swap(v *Revision) (old *Revision, idle <-chan struct{}) {
	old = p.current.Swap(v)
	p.sessions.Hear(v.listeners)
	if old == nil {
		return nil, nil
	}
	return old, old.retire()
}

// newLimit is how long an app's New may take.
const newLimit = 30 * time.Second

// start makes a revision of the app's code, from the origin and with the hash of its sources,
// by a call of its New function. Its life is within another. It does not serve yet. After an
// error its Done is closed. One at a time.
func (p *Place) start(within context.Context, app webapps.App, origin, source string) (*Revision, error) {
	v := newRevision(within)
	v.Version, v.Origin, v.Source, v.listeners = app.Version, origin, source, p.sessions.NewListeners()
	v.labels = pprof.WithLabels(context.Background(), pprof.Labels("app", p.name, "revision", short(source), deployed, v.number))
	p.resident[source] = true
	if p.current.Load() == nil {
		p.sessions.Hear(v.listeners) // its New may make sessions
	}
	h, err := plugins.Guard(newLimit, "its New function", func() (http.Handler, error) {
		pprof.SetGoroutineLabels(v.labels) // what New starts, inherits them
		return app.New(&appContext{p, v})
	})
	if err == nil && noHandler(h) {
		err = errors.New("its New function returned no handler, and no error")
	}
	if err != nil {
		v.end() // for what New has begun, or still does
		return nil, fmt.Errorf("%s: start app %s: %w", origin, p.name, err)
	}
	v.handler = h
	return v, nil
}

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

// appContext is a webapps.Context of one revision.
type appContext struct {
	p *Place
	v *Revision
}

var (
	_ webapps.Context  = (*appContext)(nil)
	_ webapps.Sessions = (*appContext)(nil)
	_ webapps.Events   = (*appContext)(nil)
	_ webapps.Users    = (*appContext)(nil)
)

func (c *appContext) Name() string          { app, _ := config.SplitPlace(c.p.name); return app }
func (c *appContext) Path() string          { return c.p.path }
func (c *appContext) Node() string          { return c.p.node }
func (c *appContext) Logger() *slog.Logger  { return c.p.log }
func (c *appContext) Done() <-chan struct{} { return c.v.life.Done() }
func (c *appContext) SessionCount() int     { return int(c.p.Manager().Stats().Sessions) }

// NewSession implements webapps.Sessions.
func (c *appContext) NewSession() (*webapps.Session, error) { return c.p.sessions.NewSession() }

// SessionsOf implements webapps.Users, as does EndSession.
func (c *appContext) SessionsOf(principal string) []webapps.UserSession {
	return c.p.sessions.SessionsOf(principal)
}

func (c *appContext) EndSession(ctx context.Context, principal, id string) (bool, error) {
	return c.p.sessions.EndSession(ctx, principal, id)
}

// Listen implements webapps.Events.
func (c *appContext) Listen(l webapps.Listener) { c.v.listeners.Listen(l) }

// Config implements webapps.Context by way of JSON, which keeps package webapps
// free of TOML.
func (c *appContext) Config(into any) error {
	settings := c.p.config
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
		return fmt.Errorf("settings of app %s ([[app]] config): %w", c.p.name, err)
	}
	return nil
}
