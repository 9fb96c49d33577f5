package cluster

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/nodeserver/nodeserver/membership"
)

// ListenError says what is wrong with an address to listen on, and the cure.
func ListenError(addr string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		_, port, _ := net.SplitHostPort(addr)
		return fmt.Errorf("listen on %s: the port is taken by another process; see which with: ss -ltnp 'sport = :%s'", addr, port)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listen on %s: this machine has no such address; see which it has with: ip address", addr)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listen on %s: not permitted; ports below 1024 need root or CAP_NET_BIND_SERVICE", addr)
	}
	return fmt.Errorf("listen on %s: %w", addr, err)
}

// Reachable is the address of a listener as others dial it: an address that
// stands for all of the machine's is replaced by the interface's own.
func Reachable(addr, iface string) (string, error) {
	if host, _, err := net.SplitHostPort(addr); err == nil && !Unspecified(host) {
		return addr, nil
	}
	return membership.Advertise(addr, iface)
}

// Loopback tells whether host:port leads to this machine only: localhost or a loopback address.
// Nothing is looked up.
func Loopback(address string) bool { return membership.Loopback(address) }

// Unspecified tells whether the host stands for all of the machine's addresses.
func Unspecified(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}
