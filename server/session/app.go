package session

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/webapps"
)

// Config is the configuration of the pipeline of an app's requests.
type Config struct {
	App           string // its name
	Path          string // where it is, with a slash at its end
	Node          string // this node's name, the route in cookies
	Cookie        string // the session cookie's name, as it is configured
	Cookies       config.Cookie
	Lifetime      time.Duration // of a session at most: no cookie is to be kept for longer
	Secure        bool          // users come by HTTPS, if no proxy that is believed says otherwise
	Expose        bool          // header Nodeserver-Node on each answer
	Freshness     bool          // users carry what they have seen from node to node
	MaxBody       int64         // of a request, in bytes; 0: no limit
	NewPerAddress int           // new sessions of one client address a minute; 0: no limit

	Sessions deltamanager.Config // Observe is the App's own

	Trace Trace // optional
}

// Trace notes that a commit for the request with the context begins, and returns what notes its end:
// how many members have acknowledged it, of how many that were asked.
type Trace func(ctx context.Context) (end func(applied, need int, err error))

// Members is what requests want to know of the cluster. Safe for concurrent use.
type Members interface {
	// Serves tells whether the node with this route serves users of the app, as far as is known here.
	Serves(app, route string) bool
}

// App holds the sessions of one app on this node, and is the way of its requests to them.
// It lives as long as the app is deployed, whatever handler serves it. Safe for concurrent
// use.
type App struct {
	name    string
	path    string // with a slash at its end
	node    string
	manager *deltamanager.Manager
	members Members
	log     *slog.Logger

	freshness bool  // users carry what they have seen from node to node
	trace     Trace // nil: nobody wants to know
	head

	maxAge, lifetime time.Duration // of cookies, 0: until the browser ends; of sessions

	maxBody atomic.Int64 // bytes; 0: no limit

	responses responses
	bodies    bodies
	listeners atomic.Pointer[Listeners] // those that hear of the sessions
	observing sync.Mutex                // held while the manager learns whether there are any
	newRate   atomic.Pointer[newRate]   // nil: no limit

	counters
	meter meter
}

// head is what the headers of answers are made of.
type head struct {
	secure  bool
	expose  bool
	exposed []string // value of Nodeserver-Node
	// What headers need, made once.
	plain, overTLS  attributes
	private, varies []string // values of Cache-Control and Vary
}

// counters count since the node's start, see Counts.
type counters struct{ panics, lost, refused, hasty, stale atomic.Int64 }

// New makes an app's sessions and its pipeline. The group wakes the way to other members.
// The manager serves no request before its Settle, and does nothing on its own before its Run.
func New(c Config, members Members, group deltamanager.Group, log *slog.Logger) *App {
	a := &App{
		name: c.App, path: c.Path, node: c.Node, members: members, log: log,
		freshness: c.Freshness, trace: c.Trace, maxAge: c.Cookies.MaxAge, lifetime: c.Lifetime,
	}
	a.SetLimits(c)
	a.head = head{
		secure: c.Secure, expose: c.Expose, exposed: []string{c.Node},
		plain: newAttributes(c, false), overTLS: newAttributes(c, true),
		private: []string{"private"}, varies: []string{"Cookie"},
	}
	c.Sessions.Observe = a.observed
	a.manager = deltamanager.New(c.Sessions, group, log.With("part", "deltamanager"))
	a.Hear(a.NewListeners()) // nobody, until the app listens
	return a
}

// SetLimits takes over what the configuration says of MaxBody, NewPerAddress and
// Sessions.Limits.MaxSessions. Requests that have begun go on under the limits of before.
func (a *App) SetLimits(c Config) {
	a.maxBody.Store(c.MaxBody)
	if !a.newRate.Load().allows(c.NewPerAddress) {
		a.newRate.Store(newNewRate(c.NewPerAddress))
	}
	if a.manager != nil {
		a.manager.SetMaxSessions(c.Sessions.Limits.MaxSessions)
	}
}

// Manager replicates the app's sessions.
func (a *App) Manager() *deltamanager.Manager { return a.manager }

// NewSession makes a session that belongs to no request.
func (a *App) NewSession() (*webapps.Session, error) {
	view, err := a.manager.Create(cookieHash(newID()))
	if err != nil {
		return nil, public(fmt.Errorf("app %s: new session: %w", a.name, err))
	}
	view.SetAcks(deltamanager.Async)
	view.Unowned()
	v := &visit{app: a, ctx: context.Background()}
	return &v.begin(view, "").public, nil
}

// Counts are of an app's requests since the node's start.
type Counts struct {
	Panics  int64 // handlers and listeners that panicked
	Lost    int64 // requests whose session had ended meanwhile
	Refused int64 // sessions not made because of sessions.max_sessions
	Hasty   int64 // sessions not made because of sessions.new_per_address
	Stale   int64 // requests served though something their user had seen could not be had
}

// Counts returns what has been counted so far.
func (a *App) Counts() Counts {
	return Counts{Panics: a.panics.Load(), Lost: a.lost.Load(), Refused: a.refused.Load(), Hasty: a.hasty.Load(), Stale: a.stale.Load()}
}
