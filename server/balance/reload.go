package balance

import (
	"log/slog"

	"github.com/nodeserver/nodeserver/channel/listen"
	"github.com/nodeserver/nodeserver/server/cluster"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/forward"
)

// Reload has the running balancer take over what can be changed of its configuration: trusted
// proxies and the limits of connections. It reads again the files that prove membership. Everything
// else stays as it was.
func (b *Balancer) Reload(cfg config.Config, log *slog.Logger) {
	trust, err := forward.Parse(cfg.HTTP.TrustedProxies)
	if err != nil {
		log.Error("http.trusted_proxies stays as it was", "err", err)
	} else {
		b.cfg.Trust.Become(trust)
	}
	if bounds := b.bounds.Load(); bounds != nil {
		limits := cluster.ForUsers(cfg.HTTP, listen.Descriptors()/descriptorsEach, log)
		(*bounds)["http"].SetLimits(limits.Total, limits.PerAddress)
	}
	if b.proof == nil {
		return
	}
	if err := b.proof.Renew(); err != nil {
		log.Error("what proves membership can't be used; what was in force before stays", "err", err)
	}
}
