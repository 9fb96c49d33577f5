//go:build !linux

package membership

import (
	"context"
	"net"
)

// listenGroup opens a socket at the port of mDNS, beside others on this machine.
func listenGroup() (net.PacketConn, error) {
	return new(net.ListenConfig).ListenPacket(context.Background(), "udp4", group().String())
}
