package netns

import (
	"os"
	"strings"
)

// Beyond makes a host on another network, 10.77.2.0/24, and the router that leads
// there: what it sends to a host of the bridge, and what they answer, has passed a router.
// The router answers ARP for both sides, so no host needs a route. To be called once.
func (n *Net) Beyond(name string) *Host {
	n.tb.Helper()
	r := n.Host("router")
	h := Lo(n.tb, name)
	h.Address = "10.77.2.2"
	r.IP("link", "add", "eth1", "type", "veth", "peer", "name", "eth0", "netns", h.Namespace)
	r.IP("addr", "add", "10.77.2.1/24", "dev", "eth1")
	r.IP("link", "set", "eth1", "up")
	h.IP("addr", "add", h.Address+"/24", "dev", "eth0")
	h.IP("link", "set", "eth0", "up")
	h.IP("route", "add", "default", "via", "10.77.2.1")
	r.IP("route", "del", "default")
	r.Do(func() {
		for _, key := range []string{"ip_forward", "conf.eth0.proxy_arp"} {
			file := "/proc/sys/net/ipv4/" + strings.ReplaceAll(key, ".", "/")
			if err := os.WriteFile(file, []byte("1"), 0o644); err != nil {
				n.tb.Error(err)
			}
		}
	})
	return h
}
