package balance

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"

	"github.com/nodeserver/nodeserver/channel/grpctransport"
	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/cluster"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/forward"
	"github.com/nodeserver/nodeserver/server/keys"
	"github.com/nodeserver/nodeserver/server/operators"
)

// FromConfig makes the balancer that a conf file describes: [balance] says
// where and how, [admin] who may look, [cluster], [channel] and [membership] how to find and prove
// the cluster, as for a node; [sessions] the cookie. It opens nothing, but
// multicast is tried for a moment.
func FromConfig(cfg config.Config, log *slog.Logger) (*Balancer, error) {
	// It only asks, so any name that its certificate has will do.
	proof, err := cluster.NewProof(cfg, "", log, func([]keys.Secret) {})
	if err != nil {
		return nil, err
	}
	sec := proof.Security
	// A member without a name only asks. Its address leads to the interface.
	providers, err := cluster.Providers(cfg, membership.Member{ChannelAddress: cfg.Channel.Address}, log)
	if err != nil {
		return nil, err
	}
	trust, err := forward.Parse(cfg.HTTP.TrustedProxies)
	if err != nil {
		return nil, fmt.Errorf("http.trusted_proxies: %w", err)
	}
	secure, err := cluster.ForHTTPS("http", cfg.HTTP.TLSCert, cfg.HTTP.TLSKey, log)
	if err != nil {
		return nil, err
	}
	ops, err := cluster.ForHTTPS("admin", cfg.Admin.TLSCert, cfg.Admin.TLSKey, log)
	if err != nil {
		return nil, err
	}
	nodes, err := nodesTLS(cfg)
	if err != nil {
		return nil, err
	}
	transport := grpctransport.New(sec, nil, nil)
	watch := func(ctx context.Context, addr string, update func([]membership.Status)) error {
		return transport.Watch(ctx, addr, cfg.Cluster.Name, update)
	}
	if !sec.TLS() {
		log.Warn("nodes don't prove who they are: no cluster.secret_file", "other_machines", sec.Proven())
	}
	c := Config{
		CookieName:     cfg.Sessions.CookieName,
		HealthInterval: cfg.Balance.HealthInterval,
		DrainNotice:    cfg.HTTP.DrainNotice,
		ShutdownGrace:  cfg.HTTP.ShutdownGrace,
		Domain:         cfg.Cluster.Domain,
		Dialer:         sec.Dialer(dialTimeout),
		HTTP:           cfg.HTTP,
		Trust:          trust,
		TLS:            secure,
		NodesTLS:       nodes,
		ListApps:       cfg.Balance.ListApps,
		SlowStart:      cfg.Balance.SlowStart,
		NodeRequests:   cfg.Balance.NodeRequests,
		QueueTime:      cfg.Balance.QueueTime,
		RedirectPort:   cfg.Balance.RedirectPort,
		Operators:      operators.Config{Admin: cfg.Admin, SecretFile: cfg.Cluster.SecretFile},
	}
	b, err := New(c, NewMembers(providers, watch, log), log)
	if err == nil {
		b.proof, b.adminTLS = proof, ops
	}
	return b, err
}

// nodesTLS is how nodes that speak TLS are known: by a certificate of balance.nodes_ca, else of the
// members' own CA if there is one, else of one that the system trusts.
func nodesTLS(cfg config.Config) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cfg.Balance.NodesName}
	key, file := "balance.nodes_ca", cfg.Balance.NodesCA
	if file == "" {
		key, file = "channel.tls_ca", cfg.Channel.TLSCA
	}
	if file == "" {
		return c, nil
	}
	pem, err := keys.Read(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no PEM certificate in %s", key, file)
	}
	return c, nil
}
