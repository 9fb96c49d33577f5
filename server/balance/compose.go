package balance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/nodeserver/nodeserver/channel/grpctransport"
	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server"
)

// FromConfig makes the front door that a conf file describes: [balance] says
// where and how, [cluster], [channel] and [membership] how to find and prove
// the cluster, as for a node; [sessions] the cookie. It opens nothing, but
// multicast is tried for a moment.
func FromConfig(cfg server.Config, log *slog.Logger) (*Balancer, error) {
	sec, err := security(cfg)
	if err != nil {
		return nil, err
	}
	providers, err := providers(cfg, log)
	if err != nil {
		return nil, err
	}
	transport := grpctransport.New(sec, nil, nil)
	watch := func(ctx context.Context, addr string, told func([]membership.Status)) error {
		return transport.Watch(ctx, addr, cfg.Cluster.Name, told)
	}
	c := Config{CookieName: cfg.Sessions.CookieName, HealthInterval: cfg.Balance.HealthInterval, ShutdownGrace: cfg.HTTP.ShutdownGrace}
	return New(c, NewMembers(providers, watch, log), log), nil
}

// certName is what the front door calls itself to members. They don't care: it
// only asks.
const certName = "front-door"

func security(cfg server.Config) (grpctransport.Security, error) {
	c := cfg.Channel
	if c.TLSCA != "" {
		return grpctransport.PKICredentials(c.TLSCA, c.TLSCert, c.TLSKey)
	}
	if cfg.Cluster.SecretFile == "" {
		return grpctransport.Insecure(), nil
	}
	secret, err := grpctransport.ReadSecretFile(cfg.Cluster.SecretFile)
	if err != nil {
		return grpctransport.Security{}, fmt.Errorf("cluster.secret_file: %w", err)
	}
	return grpctransport.SecretCredentials([][]byte{secret}, certName)
}

// providers are the conf's ways to find members. Where there are several, mdns
// may be one that doesn't work here.
func providers(cfg server.Config, log *slog.Logger) (list []membership.Provider, err error) {
	m := cfg.Membership
	for _, name := range m.Providers {
		switch name {
		case "static":
			list = append(list, membership.NewStatic(m.Static))
		case "mdns":
			p, err := membership.NewMulticast(membership.MulticastConfig{
				Cluster: cfg.Cluster.Name, Self: onlyAsks(cfg), Interface: m.Interface, Interval: m.MDNSInterval,
			}, log)
			switch {
			case err == nil:
				list = append(list, p)
			case errors.Is(err, membership.ErrNoMulticast) && slices.ContainsFunc(m.Providers, func(o string) bool { return o != "mdns" }):
				log.Warn("members are not found by mdns, the other providers go on", "err", err)
			default:
				return nil, fmt.Errorf("membership: %w", err)
			}
		case "dns":
			list = append(list, membership.NewDNS(m.DNSName, nil))
		case "file":
			list = append(list, membership.NewFile(m.File))
		default:
			return nil, fmt.Errorf("membership.providers: no provider %q (mdns, static, dns, file)", name)
		}
	}
	return list, nil
}

// onlyAsks is a member without a name, which nobody takes for one. Its address
// leads to the interface only; with one configured, to any.
func onlyAsks(cfg server.Config) membership.Member {
	if cfg.Membership.Interface != "" {
		return membership.Member{ChannelAddress: ":1"}
	}
	return membership.Member{ChannelAddress: cfg.Channel.Address}
}
