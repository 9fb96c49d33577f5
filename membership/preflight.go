package membership

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// ErrNoMulticast is wrapped by errors which say that multicast does not work with the present
// set-up of the machine; static addresses can still find members. Configuration mistakes, like an
// interface that does not exist, are other errors.
var ErrNoMulticast = errors.New("no multicast")

// group is the multicast group of mDNS.
func group() *net.UDPAddr { return &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353} }

// CheckMulticast tells whether mDNS can work over the interface, by joining its group for a moment;
// no packet of ours is sent. The error names the cure. CheckMulticast can't see switches and
// firewalls that drop multicast.
func CheckMulticast(iface string) error {
	i, err := namedInterface(iface)
	if err != nil {
		return err
	}
	return checkMulticast(i)
}

func checkMulticast(i netInterface) error {
	switch {
	case i.Flags&net.FlagUp == 0:
		return fmt.Errorf("%w over %s: the interface is down; run: ip link set %s up", ErrNoMulticast, i.Name, i.Name)
	case i.Flags&(net.FlagMulticast|net.FlagLoopback) == 0:
		return fmt.Errorf("%w over %s: this kind of interface does not carry it; choose another as "+
			`membership.interface, or list the members (membership.providers = ["static"])`, ErrNoMulticast, i.Name)
	case !i.ipv4().IsValid():
		return fmt.Errorf("%w over %s: the interface has no IPv4 address; "+
			`give it one, or list the members (membership.providers = ["static"])`, ErrNoMulticast, i.Name)
	}
	if err := join(&i.Interface); err != nil {
		return joinError(i.Name, err)
	}
	// The library's questioner joins wherever the routes lead, whatever the interface.
	if err := join(nil); err != nil {
		return joinError(i.Name, err)
	}
	return nil
}

// join enters the group and leaves it. With a nil interface the kernel chooses by its routes.
func join(ifi *net.Interface) error {
	c, err := net.ListenMulticastUDP("udp4", ifi, group())
	if err != nil {
		return err
	}
	return c.Close()
}

func joinError(iface string, err error) error {
	switch {
	case errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENETUNREACH):
		return fmt.Errorf("%w over %s: no route for it; run: ip route add 224.0.0.0/4 dev %s", ErrNoMulticast, iface, iface)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w over %s: UDP port 5353 is held by a program that does not share it; "+
			"find it with: ss -ulpn 'sport = :5353'", ErrNoMulticast, iface)
	case errors.Is(err, syscall.ENOBUFS):
		return fmt.Errorf("%w over %s: too many groups are joined on this machine; "+
			"run: sysctl net.ipv4.igmp_max_memberships=100", ErrNoMulticast, iface)
	}
	return fmt.Errorf("%w over %s: join %s: %w", ErrNoMulticast, iface, group(), err)
}
