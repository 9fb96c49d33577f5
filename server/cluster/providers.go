package cluster

import (
	"fmt"
	"log/slog"

	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/config"
)

// Providers are the conf's ways to find members. Multicast tells others of self,
// unless self has no name, and is tried for a moment; where it doesn't work, and
// there are other ways, the log and the provider's Stats say so, and they go on without it.
func Providers(c config.Config, self membership.Member, log *slog.Logger) ([]membership.Provider, error) {
	var list []membership.Provider
	m := c.Membership
	for _, name := range m.Providers {
		switch name {
		case config.ProviderStatic:
			list = append(list, membership.NewStatic(m.Static))
		case config.ProviderMDNS:
			p, err := membership.NewMulticast(membership.MulticastConfig{
				Cluster: c.Cluster.Name, Self: self, Interface: m.Interface, Interval: m.MDNSInterval,
			}, log)
			switch {
			case err == nil:
				list = append(list, p)
			case len(m.Providers) == 1:
				return nil, fmt.Errorf("membership: %w", err)
			default:
				log.Warn("members can't be found this way", "provider", name, "err", err)
				list = append(list, membership.Broken(string(name), err))
			}
		case config.ProviderDNS:
			list = append(list, membership.NewDNS(m.DNSName, nil, log))
		case config.ProviderFile:
			list = append(list, membership.NewFile(m.File, log))
		default:
			return nil, fmt.Errorf("membership.providers: no provider %q (mdns, static, dns, file)", name)
		}
	}
	return list, nil
}
