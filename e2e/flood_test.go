package e2e

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/nodeserver/nodeserver/e2e/netns"
)

// flood announces members that don't exist, 50 a second, each at another address,
// as a responder of mDNS on this very network does. It returns when ctx ends.
func flood(ctx context.Context, t *testing.T, host *netns.Host, sent *atomic.Int64) {
	t.Helper()
	var conn net.PacketConn
	var ifi *net.Interface
	var err error
	host.Do(func() {
		var lc net.ListenConfig
		lc.Control = func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
		}
		if conn, err = lc.ListenPacket(ctx, "udp4", host.Address+":5353"); err == nil {
			ifi, err = net.InterfaceByName("eth0")
		}
	})
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = conn.Close() }()
	p := ipv4.NewPacketConn(conn)
	for _, err := range []error{p.SetMulticastInterface(ifi), p.SetMulticastTTL(255)} {
		if err != nil {
			t.Error(err)
			return
		}
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n := 1; ; n++ {
		name := fmt.Sprintf("fake-%d._nodeserver._tcp.local.", n)
		m := dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}, Answer: []dns.RR{
			&dns.PTR{Hdr: dns.RR_Header{Name: "_nodeserver._tcp.local.", Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: 120}, Ptr: name},
			&dns.SRV{
				Hdr:    dns.RR_Header{Name: name, Rrtype: dns.TypeSRV, Class: dns.ClassINET, Ttl: 120},
				Port:   4001,
				Target: "fake.local.",
			},
			&dns.A{
				Hdr: dns.RR_Header{Name: "fake.local.", Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 120},
				A:   net.ParseIP(host.Address),
			},
			&dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 120}, Txt: []string{
				"v=1",
				"c=nodeserver",
				fmt.Sprintf("id=fake%d", n),
				fmt.Sprintf("inc=%x", n),
				fmt.Sprintf("a=10.77.1.%d:%d", 100+n%100, 1000+n),
			}},
		}}
		packet, err := m.Pack()
		if err == nil {
			_, err = p.WriteTo(packet, nil, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353})
		}
		if err != nil {
			t.Error(err)
			return
		}
		sent.Add(1)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Somebody on the network makes up members: a node that is started again is ready
// within 2 s of what it takes without, with a list and by mdns alone, and says
// little about it.
func TestFloodOfMadeUpMembers(t *testing.T) {
	for name, sets := range map[string][]string{
		"list": {"membership.providers=mdns,static", "membership.static=10.77.1.1:4001,10.77.1.2:4001,10.77.1.3:4001"},
		"mdns": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			network := netns.New(t)
			c := lanAt(t, network, sets...)
			attacker := network.Host("x")
			for _, n := range c {
				n.start()
			}
			c.await(t, startLimit)
			again := func() time.Duration {
				c[2].signal(syscall.SIGTERM)
				if code := c[2].exit(exitLimit); code != 0 {
					t.Fatalf("exit code %d", code)
				}
				return c.awaitSince(t, c[2].start(), startLimit)
			}
			quiet := again()
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan struct{})
			var sent atomic.Int64
			go func() { defer close(done); flood(ctx, t, attacker, &sent) }()
			within(t, 5*time.Second, "the flood", func() error {
				if sent.Load() < 100 {
					return errEarly
				}
				return nil
			})
			lines := strings.Count(c[2].log.String(), "level=WARN")
			flooded := again()
			t.Logf("ready again after %v, under the flood after %v", quiet, flooded)
			if flooded > quiet+2*time.Second {
				t.Errorf("ready again after %v without and %v with the flood", quiet, flooded)
			}
			within(t, 20*time.Second, "15 s of it", func() error {
				if sent.Load() < 750 {
					return errEarly
				}
				return nil
			})
			if n := strings.Count(c[2].log.String(), "level=WARN") - lines; n > 5 {
				t.Errorf("%d warnings about it", n)
			}
			if err := all(c, func(n *node) error { return n.sees(c...) }); err != nil {
				t.Error(err)
			}
			stop()
			<-done
		})
	}
}
