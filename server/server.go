package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/cluster"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/console"
	"github.com/nodeserver/nodeserver/server/control"
	"github.com/nodeserver/nodeserver/server/deploy"
	"github.com/nodeserver/nodeserver/server/events"
	"github.com/nodeserver/nodeserver/server/forward"
	"github.com/nodeserver/nodeserver/server/internal/accesslog"
	"github.com/nodeserver/nodeserver/server/internal/drain"
	"github.com/nodeserver/nodeserver/server/keys"
	"github.com/nodeserver/nodeserver/server/session"
	"github.com/nodeserver/nodeserver/webapps"
)

// Config is the configuration of a node.
type Config = config.Config

// Server is one node. New wires its parts, Run opens, serves and closes them.
type Server struct {
	cfg Config
	log *slog.Logger
	identity

	apps    *deploy.Table
	farm    *deploy.Farm     // nil: node.data_dir is not set
	control *control.Control // of the channel
	channel *channel.Channel
	discovery

	listeners
	readiness
	incoming
	draining
	reloading
	watching
}

// identity says which run of which node it is.
type identity struct {
	id      membership.ID
	version string
	since   time.Time // when New was called
}

// discovery is how members are found and proven.
type discovery struct {
	providers []membership.Provider // of the channel
	members   atomic.Pointer[[]membership.Status]
	proof     *cluster.Proof
	tokenKeys *deltamanager.TokenKeys                         // nil: the delta managers agree on some
	dial      func(context.Context, string) (net.Conn, error) // to other members; nil: TCP
}

// reloading is what may change while the node runs.
type reloading struct {
	live            atomic.Pointer[Config] // what apps are given: cfg as it was last reloaded
	reloads         chan Config
	maxSessions     int            // of one app; 0: no limit
	maxSessionsFrom string         // where that comes from
	level           *slog.LevelVar // nil: it can't be changed
}

// watching is what operators see.
type watching struct {
	events *events.Ring // fed by log
	info   console.Info
}

// incoming is what the requests of users pass.
type incoming struct {
	trust    forward.Trust // in proxies in front
	accessTo io.Writer     // where access goes
	access   *accesslog.Log
	tracer   Tracer       // nil: no traces
	requests atomic.Int64 // of users
	answered atomic.Int64 // of these
}

// draining says whether the node gives its users away.
type draining struct {
	drain      drain.Drain  // of the listener for users
	announcing sync.Mutex   // held while a change of that is announced
	drained    atomic.Int64 // when an operator asked for it, in ns since 1970; 0: not
}

// readiness says whether the node serves.
type readiness struct {
	ready     atomic.Bool
	wasReady  chan struct{} // closed when the node is ready for the first time
	onceReady sync.Once     // closes it
}

// Option changes what New makes.
type Option func(*Server)

// WithListeners hands in the listeners for users, operators and members instead
// of binding the configured addresses; nil stands for the configured one.
func WithListeners(http, admin, channel net.Listener) Option {
	return func(s *Server) { s.httpL, s.adminL, s.channelL = http, admin, channel }
}

// WithDialer replaces TCP as the way to other members' addresses: for tests
// that cut it.
func WithDialer(dial func(ctx context.Context, addr string) (net.Conn, error)) Option {
	return func(s *Server) { s.dial = dial }
}

// WithVersion says which version of the binary this is.
func WithVersion(v string) Option { return func(s *Server) { s.version = v } }

// WithAccessLog says where http.access_log writes; without it, that is stdout.
func WithAccessLog(to io.Writer) Option { return func(s *Server) { s.accessTo = to } }

// Tracer makes traces of what users ask for; package tracing has one. Safe for concurrent use.
type Tracer interface {
	// Handler makes a span of each request that h serves. Trusted says whether what the request's
	// sender says of the trace is believed.
	Handler(h http.Handler, trusted func(*http.Request) bool) http.Handler
	// Commit begins the span of a session's commit and returns its end: see session.Trace.
	Commit(ctx context.Context) (end func(applied, need int, err error))
	// Stop sends what is left, and ends the tracer.
	Stop() error
}

// WithTracer makes traces. Run stops the tracer.
func WithTracer(t Tracer) Option { return func(s *Server) { s.tracer = t } }

// WithConsole says what the console shows of the process. Its links are secrets: no log should have
// them.
func WithConsole(i console.Info) Option { return func(s *Server) { s.info = i } }

// New makes a node with these apps and the plugins that cfg names. It opens no
// address and starts nothing but the apps. An app that can't be loaded or started,
// or whose name or path two have, is not served: 503 on its path, and the node does not say
// that it hosts it; with cfg.Webapps.Strict it is an error. New waits for each app's
// own New for 30 s at most.
func New(cfg Config, apps []webapps.App, log *slog.Logger, options ...Option) (*Server, error) {
	s := &Server{
		cfg: cfg,
		identity: identity{
			id:      membership.ID{Name: cfg.Node.Name, Incarnation: membership.NewIncarnation()},
			version: "(devel)",
			since:   time.Now(),
		},
	}
	s.events = events.NewRing(s.id.Name, fmt.Sprintf("%016x", s.id.Incarnation))
	s.log = slog.New(events.Handler(s.events, log.Handler())).With("node", s.id.Name)
	s.wasReady, s.accessTo = make(chan struct{}), os.Stdout
	s.live.Store(&s.cfg)
	s.reloads = make(chan Config, 1)
	for _, o := range options {
		o(s)
	}
	s.access = accesslog.New(cfg.HTTP.AccessLog, s.accessTo)
	s.maxSessions, s.maxSessionsFrom = session.Limit(cfg.Sessions.MaxSessions)
	var err error
	if s.trust, err = forward.Parse(cfg.HTTP.TrustedProxies); err != nil {
		return nil, fmt.Errorf("http.trusted_proxies: %w", err)
	}
	if s.tokenKeys, err = newTokenKeys(cfg); err != nil {
		return nil, err
	}
	s.apps = deploy.New(s.deployConfig(), s.log)
	if dir := cfg.Node.DataDir; dir != "" {
		reach := func(m membership.Member) deploy.Peer { return s.control.Peer(m) }
		if s.farm, err = deploy.NewFarm(s.apps, filepath.Join(dir, "webapps"), cfg.Webapps.Keep, cfg.Node.Name, reach, s.log); err != nil {
			return nil, err
		}
	}
	if err := s.apps.Deploy(apps); err != nil {
		s.apps.Stop()
		return nil, err
	}
	return s, nil
}

// deployConfig says where the apps come from and what they are given.
func (s *Server) deployConfig() deploy.Config {
	c := deploy.Config{
		Dir: s.cfg.Webapps.Dir, Strict: s.cfg.Webapps.Strict, Settings: s.appSettings, Members: view{s},
		Watch: s.cfg.Webapps.Watch, Drain: s.cfg.Webapps.Drain, MaxRevisions: s.cfg.Webapps.MaxRevisions,
	}
	for _, a := range s.cfg.Apps {
		c.Named = append(c.Named, a.Name)
	}
	return c
}

// appSettings are what an app of this name is given.
func (s *Server) appSettings(name string) deploy.Settings {
	cfg := s.live.Load()
	a := s.settings(name)
	var commits session.Trace
	if s.tracer != nil {
		commits = s.tracer.Commit
	}
	return deploy.Settings{Config: a.Config, Session: session.Config{
		App:           name,
		Path:          a.Path,
		Node:          s.cfg.Node.Name,
		Cookie:        s.cfg.Sessions.CookieName,
		Cookies:       *a.Cookie,
		Lifetime:      s.cfg.Sessions.AbsoluteLifetime,
		Secure:        s.cfg.HTTP.TLSCert != "",
		Expose:        s.cfg.HTTP.ExposeNode,
		Freshness:     s.cfg.Sessions.Freshness != config.FreshnessOff,
		MaxBody:       int64(cfg.HTTP.MaxBodyBytes),
		NewPerAddress: cfg.Sessions.NewPerAddress,
		Sessions:      s.managerConfig(a),
		Trace:         commits,
	}}
}

// settings are an app's own, with everything else filled in.
func (s *Server) settings(name string) config.App {
	app, _ := config.SplitPlace(name)
	c := config.App{Name: name}
	for _, o := range s.cfg.Apps {
		if o.Name == app {
			c = o
		}
	}
	if c.Path == "" {
		c.Path = membership.DefaultPath(name)
	}
	if c.Acks == "" {
		c.Acks = s.cfg.Replication.Acks
	}
	if c.MaxInactive == 0 {
		c.MaxInactive = s.cfg.Sessions.MaxInactive
	}
	if c.Cookie == nil {
		c.Cookie = &s.cfg.HTTP.Cookie
	}
	return c
}

// managerConfig is the configuration of an app's delta manager.
func (s *Server) managerConfig(a config.App) deltamanager.Config {
	acks, _ := deltamanager.ParseAcks(string(a.Acks)) // checked by package conf
	r, n := s.cfg.Replication, s.cfg.Sessions
	if n.Freshness == config.FreshnessOff {
		n.FreshnessWait = 0
	}
	return deltamanager.Config{
		Self: s.id,
		Limits: deltamanager.Limits{
			MaxInactive: a.MaxInactive, FirstInactive: n.FirstInactive, Lifetime: n.AbsoluteLifetime,
			MaxSessions: s.sessionsAllowed(), MaxNewcomers: session.MaxNewcomers, MaxBytes: n.MaxSessionBytes,
		},
		FreshnessWait:    n.FreshnessWait,
		Acks:             acks,
		AckTimeout:       r.AckTimeout,
		FailUnacked:      r.OnAckTimeout == config.Fail,
		ChangeLogEntries: s.cfg.Channel.ChangeLogEntries,
		Heartbeat:        s.cfg.Channel.Heartbeat,
		RepairInterval:   r.RepairInterval,
		JoinTimeout:      r.JoinTimeout,
		ServeAnyway:      r.JoinPolicy == config.JoinServe,
		Seed:             seed(s.cfg.Cluster.Name, a.Name),
		Rand:             rand.Reader,
		TokenKeys:        s.tokenKeys,
	}
}

// seed makes digests differ between clusters and apps.
func seed(cluster, app string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(cluster + "/" + app)) // never fails
	return h.Sum64()
}

// serves tells whether the node with this route serves this node's users of the app, as far as is
// known here.
func (s *Server) serves(app, route string) bool {
	for _, m := range s.status() {
		if m.Name == route && m.Domain == s.cfg.Cluster.Domain && m.State != membership.Gone && m.Ready && !m.Draining && m.Hosts(app) {
			return true
		}
	}
	return false
}

// status is the member list as last seen.
func (s *Server) status() []membership.Status {
	if list := s.members.Load(); list != nil {
		return *list
	}
	return nil
}

// newTokenKeys are the keys of users' tokens that the cluster's secrets give. Where members prove
// themselves otherwise there are none, and the delta managers agree on some.
func newTokenKeys(c Config) (*deltamanager.TokenKeys, error) {
	if c.Cluster.SecretFile == "" || c.Channel.TLSCA != "" {
		return nil, nil
	}
	secrets, err := keys.ReadSecrets(c.Cluster.SecretFile)
	if err != nil {
		return nil, fmt.Errorf("cluster.secret_file: %w", err)
	}
	return deltamanager.NewTokenKeys(keysOf(secrets)...), nil
}

func keysOf(secrets []keys.Secret) (list []deltamanager.TokenKey) {
	for _, secret := range secrets {
		key := secret.Derive("nodeserver tokens v1")
		list = append(list, deltamanager.TokenKey(key[:]))
	}
	return list
}

// secretsChanged has users' tokens made with the secrets that are in force now.
func (s *Server) secretsChanged(secrets []keys.Secret) {
	if s.tokenKeys != nil {
		s.tokenKeys.Change(keysOf(secrets)...)
	}
}
