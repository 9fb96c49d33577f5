package membership

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"time"
)

// hostName is a DNS name as people write it in configurations; underscores are not in the standard,
// but are in the names that container networks give.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_.])?$`)

// CheckAddress returns an error if members can't dial the address. It is host:port with a host
// name, an IPv4 address or an IPv6 address in brackets, and a port number of 1 to 65535. Nothing is
// looked up.
func CheckAddress(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q is not host:port (like 10.0.0.1:4001)", s)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("%q: port must be 1–65535", s)
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err == nil && (ip.IsUnspecified() || ip.IsMulticast()):
		return fmt.Errorf("%q: members can't dial %s, give the address of one machine", s, host)
	case err != nil && !hostName.MatchString(host):
		return fmt.Errorf("%q: %q is neither an IP address nor a host name", s, host)
	}
	return nil
}

// Loopback tells whether an address, host:port, leads to this machine only: its host is localhost
// or a loopback IP address. Nothing is looked up.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// wildcard tells whether the host of host:port stands for all of a machine's addresses.
func wildcard(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

// every calls do at once and then after each d, until ctx ends.
func every(ctx context.Context, d time.Duration, do func()) {
	t := time.NewTicker(d)
	defer t.Stop()
	for ctx.Err() == nil {
		do()
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
}
