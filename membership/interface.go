package membership

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// lookupTime bounds the look-up of a host name in the channel's address.
const lookupTime = 2 * time.Second

// netInterface is an interface with its addresses, as they were at the time of the call.
type netInterface struct {
	net.Interface
	addrs []netip.Addr
	nets  []netip.Prefix // of the addresses
}

// onLink tells whether a packet from the address can have been sent on the interface's own network
// (RFC 6762 section 11). On loopback only this machine sends, with whichever of its addresses.
func (i netInterface) onLink(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	return i.Flags&net.FlagLoopback != 0 || slices.ContainsFunc(i.nets, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// holds tells whether the address leads to this machine by this interface. All of 127.0.0.0/8 does
// by the loopback interface.
func (i netInterface) holds(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	return slices.Contains(i.addrs, ip) || ip.IsLoopback() && i.Flags&net.FlagLoopback != 0
}

// ipv4 is the first IPv4 address, invalid if there is none.
func (i netInterface) ipv4() netip.Addr {
	for _, a := range i.addrs {
		if a.Is4() {
			return a
		}
	}
	return netip.Addr{}
}

// String is the name and the IPv4 address, for people that choose an interface.
func (i netInterface) String() string {
	if a := i.ipv4(); a.IsValid() {
		return i.Name + " " + a.String()
	}
	return i.Name
}

func netInterfaces() ([]netInterface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list the network interfaces: %w", err)
	}
	list := make([]netInterface, 0, len(all))
	for _, ifi := range all {
		i := netInterface{Interface: ifi}
		nets, err := ifi.Addrs()
		if err != nil {
			continue // the interface has gone meanwhile
		}
		for _, n := range nets {
			if p, err := netip.ParsePrefix(n.String()); err == nil {
				i.addrs, i.nets = append(i.addrs, p.Addr().Unmap()), append(i.nets, p.Masked())
			}
		}
		list = append(list, i)
	}
	return list, nil
}

// namedInterface finds an interface by name; the error lists those there are.
func namedInterface(name string) (netInterface, error) {
	list, err := netInterfaces()
	if err != nil {
		return netInterface{}, err
	}
	for _, i := range list {
		if i.Name == name {
			return i, nil
		}
	}
	return netInterface{}, fmt.Errorf("there is no interface %q here (there are: %s)", name, names(list))
}

func names(list []netInterface) string {
	var s []string
	for _, i := range list {
		s = append(s, i.String())
	}
	return strings.Join(s, ", ")
}

// chooseInterface finds the interface for mDNS: the named one, or, if name is empty, the one that
// holds the address (host:port).
func chooseInterface(name, address string) (netInterface, error) {
	if name != "" {
		return namedInterface(name)
	}
	list, err := netInterfaces()
	if err != nil {
		return netInterface{}, err
	}
	if wildcard(address) {
		return mainInterface(list, address)
	}
	ips, err := hostAddrs(address)
	if err != nil {
		return netInterface{}, err
	}
	for _, ip := range ips {
		for _, i := range list {
			if i.holds(ip) {
				return i, nil
			}
		}
	}
	return netInterface{}, fmt.Errorf("no interface here has the channel's address %s: "+
		"set membership.interface to one of %s", address, names(list))
}

func hostAddrs(address string) ([]netip.Addr, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%q is not host:port (like 10.0.0.1:4001)", address)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("look up the channel's address %s: %w", address, err)
	}
	return ips, nil
}

// mainInterface chooses the interface for an address that stands for all addresses of the machine:
// the only interface that leads outside, or the one to which multicast is routed; loopback if no
// interface leads outside.
func mainInterface(list []netInterface, address string) (netInterface, error) {
	var outside []netInterface
	var lo netInterface
	for _, i := range list {
		switch {
		case i.Flags&net.FlagUp == 0 || !i.ipv4().IsValid():
		case i.Flags&net.FlagLoopback != 0:
			lo = i
		default:
			outside = append(outside, i)
		}
	}
	switch len(outside) {
	case 0:
		if lo.Name == "" {
			return lo, fmt.Errorf("%w: no interface is up and has an IPv4 address (there are: %s)", ErrNoMulticast, names(list))
		}
		return lo, nil
	case 1:
		return outside[0], nil
	}
	source := routedSource()
	for _, i := range outside {
		if i.holds(source) {
			return i, nil
		}
	}
	return netInterface{}, fmt.Errorf("the channel's address %s stands for several interfaces, and no default route "+
		"says which leads to the other members: set membership.interface to one of %s", address, names(outside))
}

// routedSource is this machine's address on the interface to which multicast is routed, invalid if
// there is no route. Nothing is sent.
func routedSource() netip.Addr {
	c, err := net.DialUDP("udp4", nil, group())
	if err != nil {
		return netip.Addr{}
	}
	defer func() { _ = c.Close() }() // nothing was written
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

// Advertise is the address to announce for a channel that listens on address (host:port). It is the
// same address, but an empty host or 0.0.0.0 is replaced by the address of the interface. With an
// empty iface the interface is chosen as [NewMulticast] does. It may take 2 s if a host name does
// not resolve.
func Advertise(address, iface string) (string, error) {
	if !wildcard(address) {
		return address, nil
	}
	i, err := chooseInterface(iface, address)
	if err != nil {
		return "", err
	}
	return advertised(i, address)
}

func advertised(i netInterface, address string) (string, error) {
	if !wildcard(address) {
		return address, CheckAddress(address)
	}
	if !i.ipv4().IsValid() {
		return "", fmt.Errorf("interface %s has no IPv4 address to advertise for %s: set channel.advertise", i.Name, address)
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("%q is not host:port (like 10.0.0.1:4001)", address)
	}
	at := net.JoinHostPort(i.ipv4().String(), port)
	return at, CheckAddress(at)
}
