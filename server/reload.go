package server

import (
	"log/slog"

	"github.com/nodeserver/nodeserver/channel/listen"
	"github.com/nodeserver/nodeserver/server/cluster"
	"github.com/nodeserver/nodeserver/server/forward"
	"github.com/nodeserver/nodeserver/server/session"
)

// WithLogLevel says which level operators may change while the node runs.
func WithLogLevel(level *slog.LevelVar) Option { return func(s *Server) { s.level = level } }

// Reload has the running node take over what can be changed of its configuration (conf.Live), and
// read again the files that prove membership. Everything else stays as it was. It does not wait. The
// latest one counts. Not to be called by two goroutines at once.
func (s *Server) Reload(cfg Config) {
	select {
	case <-s.reloads: // one that was not looked at yet
	default:
	}
	s.reloads <- cfg
}

// reload takes over what can be changed. It belongs to Run.
func (s *Server) reload(cfg Config) {
	trust, err := forward.Parse(cfg.HTTP.TrustedProxies)
	if err != nil {
		s.log.Error("http.trusted_proxies stays as it was", "err", err)
	} else {
		s.trust.Become(trust)
	}
	now := *s.live.Load()
	now.HTTP.MaxBodyBytes, now.Sessions.NewPerAddress = cfg.HTTP.MaxBodyBytes, cfg.Sessions.NewPerAddress
	now.Sessions.MaxSessions = cfg.Sessions.MaxSessions
	watch := cfg.Webapps.Watch != now.Webapps.Watch
	now.Webapps.Watch = cfg.Webapps.Watch
	s.live.Store(&now)
	s.apps.SetLimits()
	s.log.Info("limits and trusted proxies are as the configuration says now", "event", "conf", "what", "its configuration")
	if watch {
		s.apps.SetWatch(now.Webapps.Watch)
	}
	users := cluster.ForUsers(cfg.HTTP, listen.Descriptors()/4*usersShare, s.log)
	s.bounds["http"].SetLimits(users.Total, users.PerAddress)
	if err := s.proof.Renew(); err != nil {
		s.log.Error("what proves membership can't be used; what was in force before stays", "err", err)
	}
}

// sessionsAllowed is how many sessions an app may have here; 0: no limit.
func (s *Server) sessionsAllowed() int {
	limit, _ := session.Limit(s.live.Load().Sessions.MaxSessions)
	return limit
}
