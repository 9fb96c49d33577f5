package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/channel/grpctransport"
	"github.com/nodeserver/nodeserver/channel/listen"
	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/cluster"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/console"
	"github.com/nodeserver/nodeserver/server/control"
	"github.com/nodeserver/nodeserver/server/forward"
	"github.com/nodeserver/nodeserver/server/internal/lively"
	"github.com/nodeserver/nodeserver/server/operators"
	"github.com/nodeserver/nodeserver/server/session"
)

// Run opens the node's addresses, joins the cluster and serves until ctx ends; then it leaves in
// order: it says so for http.drain_notice, no new requests, those in flight within the grace,
// changes to the other members, good-bye, and only then the rest. It returns after everything it
// started has returned: nil if it was asked to stop, else what went wrong. To be called once.
func (s *Server) Run(ctx context.Context) error {
	defer s.apps.Stop()
	if err := s.listen(ctx); err != nil {
		return err
	}
	guard, pages, err := s.operators()
	var adminTLS *tls.Config
	if err == nil {
		adminTLS, err = cluster.ForHTTPS("admin", s.cfg.Admin.TLSCert, s.cfg.Admin.TLSKey, s.log)
	}
	if err == nil {
		err = s.makeChannel()
	}
	if err != nil {
		s.closeListeners()
		return err
	}
	if a, ok := s.adminL.Addr().(*net.TCPAddr); ok { // in tests there are other networks
		untoken, err := guard.Start(a.String())
		if err != nil {
			s.log.Warn("who reaches the admin address can look, but nobody can change anything there", "err", err)
		}
		defer untoken()
		if code := guard.StartLink(); code != "" && s.info.Link != nil {
			scheme := "http://"
			if adminTLS != nil {
				scheme = "https://"
			}
			s.info.Link(scheme + a.String() + console.LinkPath(code))
		}
	}
	s.membersChanged(s.channel.Members()) // itself, until the channel runs
	adminServer, httpServer := operators.Server(guard, adminTLS, s.httpLog()), s.httpServer()
	// life is of the parts that must outlive the orderly stop.
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	parts, life := errgroup.WithContext(life)
	parts.Go(func() error { return served(lively.Serve(adminServer, s.bounds["admin"])) })
	parts.Go(func() error { return s.serveHTTP(life, httpServer) })
	parts.Go(func() error { return s.channel.Run(life) })
	parts.Go(func() error { s.channel.Watch(life, s.membersChanged); return nil })
	parts.Go(func() error { s.apps.Run(life); return nil })
	parts.Go(func() error { s.proof.Follow(life); return nil })
	parts.Go(func() error { return s.watchReadiness(life) })
	if pages != nil {
		parts.Go(func() error { pages.Run(life); return nil })
	}
	parts.Go(func() error { s.followCatalog(ctx, life); return nil })
	s.banner()

	for going := true; going; {
		select {
		case cfg := <-s.reloads:
			s.reload(cfg)
		case <-ctx.Done():
			s.log.Info("stopping", "event", "stopping", "grace", s.cfg.HTTP.ShutdownGrace)
			s.leave(life, httpServer)
			going = false
		case <-life.Done():
			_ = httpServer.Close() // a part has failed: its error is what Run returns
			going = false
		}
	}
	end(errStop)
	_ = adminServer.Close() // no operator needs it any more
	err = parts.Wait()
	s.stopTracing(s.log)
	if err != nil && !errors.Is(err, errStop) {
		return err
	}
	s.log.Info("stopped", "event", "stopped")
	return nil
}

// operators is what answers operators; pages are those of the console, nil: admin.console is off.
func (s *Server) operators() (guard *operators.Guard, pages *console.Console, err error) {
	c := s.adminConfig()
	if s.cfg.Admin.Console {
		c.Browsers = operators.NewBrowsers()
		c.Pages = func(v admin.View) []operators.Route {
			pages = s.newConsole(c.Browsers, v)
			return pages.Routes()
		}
	}
	guard, err = admin.Handler(c, view{s}, s.apps, s.farm, s.log.With("part", "admin"))
	return guard, pages, err
}

func (s *Server) newConsole(browsers *operators.Browsers, v admin.View) *console.Console {
	c := console.Config{Name: s.id.Name, Cluster: s.cfg.Cluster.Name, Version: s.version, Browsers: browsers, Info: s.info}
	if s.farm != nil {
		c.Farm = s.farm
	}
	return console.New(c, v, s.log.With("part", "console"))
}

func (s *Server) adminConfig() admin.Config {
	return admin.Config{
		Admin: s.cfg.Admin, SecretFile: s.cfg.Cluster.SecretFile, ID: s.id, Domain: s.cfg.Cluster.Domain,
		Cluster: s.cfg.Cluster.Name, Cookie: s.cfg.Sessions.CookieName,
		Version: s.version, Since: s.since, Level: s.level,
	}
}

var errStop = errors.New("asked to stop")

func served(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// listen binds all addresses, so that a taken port is found before anything starts.
func (s *Server) listen(ctx context.Context) error {
	for _, l := range []struct {
		listener *net.Listener
		key, at  string
	}{
		{&s.httpL, "http.address", s.cfg.HTTP.Address},
		{&s.adminL, "admin.address", s.cfg.Admin.Address},
		{&s.channelL, "channel.address", s.cfg.Channel.Address},
	} {
		if *l.listener != nil {
			continue
		}
		var n net.Listener
		var err error
		if l.listener == &s.httpL {
			n, s.release, err = listen.Held(ctx, l.at)
		} else {
			n, err = listen.TCP(ctx, l.at)
		}
		if err != nil {
			s.closeListeners()
			return fmt.Errorf("%s: %w", l.key, cluster.ListenError(l.at, err))
		}
		*l.listener = n
	}
	s.bound()
	return nil
}

func (s *Server) closeListeners() {
	for _, l := range []net.Listener{s.httpL, s.adminL, s.channelL} {
		if l != nil {
			_ = l.Close() // never used
		}
	}
}

// makeChannel wires security, transport, discovery and topics.
func (s *Server) makeChannel() error {
	if err := s.prove(); err != nil {
		return err
	}
	self, err := s.self()
	if err != nil {
		return err
	}
	providers, err := cluster.Providers(s.cfg, self, s.log.With("part", "membership"))
	if err != nil {
		return err
	}
	cfg := channel.Config{
		Self: self, Cluster: s.cfg.Cluster.Name, Heartbeat: s.cfg.Channel.Heartbeat,
		SuspectAfter: s.cfg.Channel.SuspectAfter, DownAfter: s.cfg.Channel.DownAfter, BatchDelay: s.cfg.Replication.BatchDelay,
		Expect: s.cfg.Membership.Expect, Patience: s.cfg.Replication.JoinTimeout, Insist: s.cfg.Replication.JoinPolicy == config.JoinWait,
	}
	s.providers = providers
	transport := grpctransport.New(s.proof.Security, s.bounds["channel"], s.dial)
	s.channel = channel.New(cfg, transport, providers, s.log.With("part", "channel"))
	s.control = control.New(transport, s.cfg.Cluster.Name, s.id, s.channel.Members, view{s})
	s.apps.Join(s.channel, self.Domain)
	if s.farm != nil {
		s.farm.Join(s.channel)
	}
	return nil
}

// followCatalog hosts what the cluster does, until the node is asked to stop or a part fails.
func (s *Server) followCatalog(ctx, life context.Context) {
	if s.farm == nil {
		return
	}
	following, cancel := context.WithCancel(life)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	s.farm.Run(following)
}

// prove settles how members prove their identity. A channel that others can reach
// must have it so.
func (s *Server) prove() (err error) {
	c := s.cfg
	c.Channel.Address = s.channelL.Addr().String() // as it is bound, whatever the conf says
	s.proof, err = cluster.NewProof(c, c.Node.Name, s.log.With("part", "channel"), s.secretsChanged)
	if err == nil && !s.proof.Security.TLS() {
		s.log.Warn(
			"members don't prove who they are: no cluster.secret_file", "addr", c.Channel.Address,
			"other_machines", s.proof.Security.Proven(),
		)
	}
	return err
}

// self is how this node is announced to others: at what addresses they reach it.
func (s *Server) self() (membership.Member, error) {
	m := membership.Member{ID: s.id, Domain: s.cfg.Cluster.Domain, Version: s.version, ChannelAddress: s.cfg.Channel.Advertise}
	if m.ChannelAddress == "" {
		var err error
		if m.ChannelAddress, err = cluster.Reachable(s.channelL.Addr().String(), s.cfg.Membership.Interface); err != nil {
			return m, fmt.Errorf("channel.advertise: %w", err)
		}
	}
	m.HTTPAddress = s.httpL.Addr().String()
	if host, port, err := net.SplitHostPort(m.HTTPAddress); err == nil && cluster.Unspecified(host) {
		host, _, _ = net.SplitHostPort(m.ChannelAddress)
		m.HTTPAddress = net.JoinHostPort(host, port)
	}
	m.Apps, m.Paths = s.apps.Names(), s.paths()
	m.HTTPS = s.cfg.HTTP.TLSCert != ""
	return m, nil
}

// paths are those that the conf gives apps, for balancers.
func (s *Server) paths() map[string]string {
	paths := map[string]string{}
	for _, a := range s.cfg.Apps {
		if a.Path != "" {
			paths[a.Name] = a.Path
		}
	}
	return paths
}

// membersChanged keeps the member list at hand for requests.
func (s *Server) membersChanged(list []membership.Status) { s.members.Store(&list) }

// watchReadiness tells the parts of each other: discovery's first chance to the
// delta managers, their readiness to the others.
func (s *Server) watchReadiness(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.channel.Settled():
	}
	s.apps.Settle()
	for {
		s.setReady(s.channel.Problem())
		again := time.Second / 200
		if s.ready.Load() {
			again = time.Second / 5 // an idle node shall sleep; requests ask the managers themselves
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(again):
		}
	}
}

func (s *Server) setReady(problem error) {
	ready := !s.drain.Stopping() && problem == nil && s.apps.Ready() && (s.farm == nil || s.farm.Ready())
	if s.ready.Swap(ready) == ready {
		return
	}
	if ready {
		s.onceReady.Do(func() { close(s.wasReady) })
	}
	s.channel.SetReady(ready)
	switch {
	case ready:
		s.log.Info("ready", "event", "ready", "members", s.names())
	case problem != nil:
		s.log.Error("no longer ready", "event", "notready", "err", problem)
	case !s.drain.Stopping():
		s.log.Warn("no longer ready: getting the sessions from the others", "event", "notready",
			"why", "it gets the sessions from the others")
	}
}

func (s *Server) names() string {
	var names []string
	for _, m := range s.status() {
		if m.State != membership.Gone {
			names = append(names, m.Name)
		}
	}
	return strings.Join(names, " ")
}

// banner says which node this is, and its addresses.
func (s *Server) banner() {
	var apps []string
	for p := range s.apps.Each() {
		apps = append(apps, p.Name()+" "+p.Path())
	}
	s.log.Info(
		"node started", "event", "started", "version", s.version, "cluster", s.cfg.Cluster.Name, "http",
		s.httpL.Addr().String(), "channel", s.channelL.Addr().String(), "admin",
		s.adminL.Addr().String(), "apps", strings.Join(apps, ", "), "max_sessions", s.maxSessions,
		"max_sessions_from", s.maxSessionsFrom, "tls",
		s.cfg.Cluster.SecretFile != "" || s.cfg.Channel.TLSCA != "",
	)
	if len(apps)+len(s.apps.Down()) == 0 {
		s.log.Warn("no webapps: put plugins into webapps.dir", "dir", s.cfg.Webapps.Dir)
	}
}

func (s *Server) httpServer() *http.Server {
	h := lively.Server(s.cfg.HTTP, s.traced(http.HandlerFunc(s.serve)), s.httpLog())
	h.Handler = answersForItself(s.id, s.probed, h.Handler)
	h.DisableGeneralOptionsHandler = true // which would answer OPTIONS * in place of the node
	h.ConnContext = session.ConnContext(s.log)
	s.drain.Of(h)
	return h
}

func (n *incoming) traced(h http.Handler) http.Handler {
	if n.tracer == nil {
		return h
	}
	return n.tracer.Handler(h, n.trust.Of)
}

func (n *incoming) stopTracing(log *slog.Logger) {
	if n.tracer == nil {
		return
	}
	if err := n.tracer.Stop(); err != nil {
		log.Warn("the last traces could not be sent", "err", err)
	}
}

// serve leads a user's request to its app.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	defer s.answered.Add(1)
	s.trust.Apply(r)
	if s.access != nil {
		line, logged := s.access.Begin(w, r)
		line.ID, line.Node = forward.RequestID(r.Header), s.cfg.Node.Name
		defer line.End()
		w = logged
	}
	s.apps.ServeHTTP(w, r)
}

// probed tells a balancer whether to send requests, and notes that one asks.
func (s *Server) probed() bool {
	s.drain.Probed()
	return s.ready.Load() && !s.drain.Begun()
}

// serveHTTP serves users. Until the node is ready for the first time, connections to its
// port are refused where the system can do that: a client that does not ask
// /readyz before it sends a request goes on to another node.
func (s *Server) serveHTTP(life context.Context, h *http.Server) error {
	if s.release != nil {
		select {
		case <-life.Done():
			return s.httpL.Close()
		case <-s.wasReady:
		}
		if err := s.release(); err != nil {
			return fmt.Errorf("http.address: %w", cluster.ListenError(s.httpL.Addr().String(), err))
		}
	}
	secure, err := cluster.ForHTTPS("http", s.cfg.HTTP.TLSCert, s.cfg.HTTP.TLSKey, s.log)
	if err != nil {
		return err
	}
	h.TLSConfig = secure
	return s.served(lively.Serve(h, s.users))
}

// taking tells whether connections of users may have been made.
func (s *Server) taking() bool {
	select {
	case <-s.wasReady:
		return true
	default:
		return s.release == nil
	}
}

// served is the error with which the service of users ended, nil if it was to end.
func (s *Server) served(err error) error {
	if s.drain.Stopping() {
		return nil
	}
	return served(err)
}

// leave takes the node out in order: nothing is closed before the senders of requests
// have had the time to hear that they should not.
func (s *Server) leave(ctx context.Context, h *http.Server) {
	s.beginToStop()
	s.drain.Wait(ctx, s.cfg.HTTP.DrainNotice)
	if s.taking() {
		s.drain.Quiet(s.users, quietTime)
	}
	s.apps.Stop() // answers that go on until the end can end now
	grace, cancel := context.WithTimeout(ctx, s.cfg.HTTP.ShutdownGrace)
	defer cancel()
	if err := h.Shutdown(grace); err != nil {
		s.log.Warn("requests did not end within the grace; breaking them off", "err", err)
		_ = h.Close() // same
	}
	cleaning, cancel := context.WithTimeout(ctx, s.cfg.Webapps.Drain)
	defer cancel()
	s.apps.Finish(cleaning)
	s.apps.HandOver()
	flush, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	if !s.apps.Flush(flush) {
		s.log.Warn("there may be changes that no other member has confirmed", "dur", flushTime)
	}
	bye, cancel := context.WithTimeout(ctx, byeTime)
	defer cancel()
	s.channel.Leave(bye)
}

const (
	quietTime = time.Second     // for connections made and not accepted yet, at most
	flushTime = 5 * time.Second // for the hand-over of the last changes, at most
	byeTime   = time.Second     // for good-byes
)

func (s *Server) httpLog() *log.Logger {
	return slog.NewLogLogger(s.log.With("part", "http").Handler(), slog.LevelDebug)
}
