package membership

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// listenGroup opens a socket at the group's own address, beside others on this machine. So unicast
// packets never come to it, nor can they fill its buffer; and what other processes join elsewhere
// doesn't count (IP_MULTICAST_ALL).
func listenGroup() (net.PacketConn, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "mdns")
	defer func() { _ = f.Close() }() // net has a copy, or nobody
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return nil, fmt.Errorf("share the port: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0); err != nil {
		return nil, fmt.Errorf("IP_MULTICAST_ALL: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: mdnsPort, Addr: [4]byte(group().IP.To4())}); err != nil {
		return nil, fmt.Errorf("bind: %w", err)
	}
	return net.FilePacketConn(f)
}
