package grpctransport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// ErrUnproven says that an address leads to another machine, and nothing would prove that a member
// answers there. It is for errors.Is.
var ErrUnproven = errors.New("only this machine's loopback addresses are dialled without a cluster secret: " +
	"set cluster.secret_file (or channel.insecure = true on a network where everybody is trusted)")

// Proven tells whether addresses of other machines may be dialled: members prove their identity, or
// the operator trusts all machines on the network.
func (s Security) Proven() bool { return s.TLS() || s.trusting }

// Dialer makes connections to the addresses that members announce. Without any proof it dials
// loopback addresses only; that is decided for each address after its host name was looked up. The
// timeout bounds one dial; 0 is no bound.
func (s Security) Dialer(timeout time.Duration) *net.Dialer {
	d := &net.Dialer{Timeout: timeout}
	if !s.Proven() {
		d.Control = onlyLoopback
	}
	return d
}

// onlyLoopback refuses sockets to other machines. The address is the one that the socket is about
// to be connected to.
func onlyLoopback(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().Unmap().IsLoopback() {
		return fmt.Errorf("%s: %w", address, ErrUnproven)
	}
	return nil
}
