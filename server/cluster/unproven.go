package cluster

import (
	"net"
	"net/netip"
	"slices"

	"github.com/nodeserver/nodeserver/channel/grpctransport"
	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/config"
)

// Problem is what is wrong with the value of a key.
type Problem struct {
	Key  string // like channel.address
	Text string // what is wrong, and the cure
}

const proofCure = `: make a secret with "nodeserver secret new FILE", the same file on each node, ` +
	`and name it in cluster.secret_file (or set tls_ca, tls_cert and tls_key; or insecure = true where you trust the network)`

// Unproven is what in a conf leads to other machines though nothing would prove
// which process is there: the conf has no cluster secret, no PKI, and does not say that the
// network is trusted. A node and a balancer refuse to start with it. Host names
// are not looked up; where they lead to is seen when they are dialled.
func Unproven(c config.Config) []Problem {
	if proven(c) {
		return nil
	}
	var list []Problem
	wrong := func(key, text string) { list = append(list, Problem{key, text + proofCure}) }
	if !membership.Loopback(c.Channel.Address) {
		wrong("channel.address", `"`+c.Channel.Address+`" is open to others, but nothing proves who they are`)
	}
	if a := c.Channel.Advertise; a != "" && otherMachine(a) {
		wrong("channel.advertise", `"`+a+`" is for other machines, but nothing proves who they are`)
	}
	m := c.Membership
	if name := m.Interface; slices.Contains(m.Providers, config.ProviderMDNS) && name != "" && !loopbackInterface(name) {
		wrong("membership.interface", `"`+name+`" leads to other machines, but nothing proves who they are`)
	}
	for _, a := range m.Static {
		if slices.Contains(m.Providers, config.ProviderStatic) && otherMachine(a) {
			wrong("membership.static", `"`+a+`" is another machine, but nothing proves who answers there`)
		}
	}
	if slices.Contains(m.Providers, config.ProviderDNS) && otherMachine(m.DNSName) {
		wrong("membership.dns_name", `"`+m.DNSName+`" is another machine, but nothing proves who answers there`)
	}
	return list
}

// NotAllowed says what is wrong with channel.tls_allowed where it is needed.
func NotAllowed(c config.Config) string {
	if _, err := grpctransport.ParseAllowed(c.Channel.TLSAllowed); err != nil {
		return err.Error()
	}
	return ""
}

// Unused says why a balancer will not send users to the conf's http.address;
// empty if it will.
func Unused(c config.Config) string {
	if host, _, _ := net.SplitHostPort(c.HTTP.Address); proven(c) || Unspecified(host) || !otherMachine(c.HTTP.Address) {
		return ""
	}
	return `"` + c.HTTP.Address + `" gets no requests from a balancer: without cluster.secret_file it believes in loopback addresses only`
}

func proven(c config.Config) bool {
	return c.Channel.TLSCA != "" || c.Cluster.SecretFile != "" || c.Channel.Insecure
}

// otherMachine tells whether host:port is the IP address of another machine.
func otherMachine(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	ip, err := netip.ParseAddr(host)
	return err == nil && !ip.Unmap().IsLoopback()
}

// loopbackInterface tells whether the interface leads to this machine only. One
// that is not here may be another machine's, whose conf is looked at.
func loopbackInterface(name string) bool {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return name == "lo"
	}
	return i.Flags&net.FlagLoopback != 0
}
