package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/nodeserver/nodeserver/e2e/netns"
)

// stranger is somebody beyond a router: takes whatever connections come, and counts them.
type stranger struct {
	host *netns.Host
	met  atomic.Int64
}

func newStranger(t *testing.T, host *netns.Host) *stranger {
	t.Helper()
	s := &stranger{host: host}
	for _, port := range []string{"4001", "8081"} {
		var l net.Listener
		var err error
		host.Do(func() { l, err = net.Listen("tcp4", host.Address+":"+port) })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				s.met.Add(1)
				_ = c.Close()
			}
		}()
	}
	return s
}

// lie sends mDNS answers straight to the victim, until stop is closed: that the stranger's
// address is a member's, under names of its own and of the nodes.
func (s *stranger) lie(t *testing.T, victim string, stop <-chan struct{}) {
	t.Helper()
	var conn net.PacketConn
	var err error
	s.host.Do(func() { conn, err = net.ListenPacket("udp4", s.host.Address+":5353") })
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = conn.Close() }()
	to := &net.UDPAddr{IP: net.ParseIP(victim), Port: 5353}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n := 1; ; n++ {
		id := []string{"evil", "n1", "n2", "n3"}[n%4]
		name := fmt.Sprintf("%s-%d._nodeserver._tcp.local.", id, n)
		head := dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 120}
		m := dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}, Answer: []dns.RR{
			&dns.PTR{Hdr: dns.RR_Header{Name: "_nodeserver._tcp.local.", Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: 120}, Ptr: name},
			&dns.TXT{
				Hdr: head,
				Txt: []string{"v=1", "c=nodeserver", "id=" + id, fmt.Sprintf("inc=%x", n), "a=" + s.host.Address + ":4001"},
			},
		}}
		packet, err := m.Pack()
		if err == nil {
			_, err = conn.WriteTo(packet, to)
		}
		if err != nil {
			t.Error(err)
			return
		}
		select {
		case <-stop:
			return
		case <-tick.C:
		}
	}
}

// A stranger two hops away that can send UDP and nothing else, tells nodes and balancer
// that it is a member. No node believes it, with a secret and without: no connection goes to
// it, and no request of a user.
func TestStrangerBeyondARouter(t *testing.T) {
	t.Parallel()
	for what, file := range map[string]string{"with a secret": secret(t), "without a secret": ""} {
		t.Run(what, func(t *testing.T) {
			network := netns.New(t)
			victim := network.Host("victim")
			far := newStranger(t, network.Beyond("far"))
			victim.IP("route", "add", "224.0.0.0/4", "dev", "lo")
			sets := []string{"cluster.secret_file=" + file, "membership.providers=mdns", "membership.static=", "membership.interface=lo"}
			stop := make(chan struct{})
			go far.lie(t, victim.Address, stop)
			defer close(stop)
			var c cluster
			for i := range 3 {
				n := newNode(t, fmt.Sprintf("n%d", i+1), fmt.Sprintf("node%d.toml", i+1), victim, sets...)
				n.http, n.admin, n.channel = fmt.Sprintf(
					"127.0.0.1:808%d",
					i+1,
				), fmt.Sprintf("127.0.0.1:908%d", i+1), fmt.Sprintf("127.0.0.1:400%d", i+1)
				c = append(c, n)
				n.start()
			}
			d := newNode(
				t,
				"door",
				"balance.toml",
				victim,
				append([]string{"balance.address=0.0.0.0:8080", "admin.address=127.0.0.1:9080"}, sets...)...)
			d.args[0], d.http, d.admin = "balance", victim.Address+":8080", "127.0.0.1:9080"
			d.start()
			c.await(t, 20*time.Second)
			within(t, startLimit, "balancer ready", func() error {
				if status, body, err := d.ask("/readyz"); err != nil || status != http.StatusOK {
					return fmt.Errorf("%d %s %w", status, body, err)
				}
				return nil
			})
			// Users come from beyond the router, too.
			d.host = far.host
			for i := range 200 {
				u := new(user)
				if r := u.ok(t, d, "inc").reply(t); r.n != 1 || !strings.HasPrefix(r.node, "n") {
					t.Fatalf("request %d: %+v", i, r)
				}
			}
			if n := far.met.Load(); n != 0 {
				t.Errorf("%d connections went to the stranger", n)
			}
			for _, n := range append(c, d) {
				if text := n.log.String(); strings.Contains(text, "evil") || strings.Contains(text, far.host.Address) {
					t.Errorf("%s heeds the stranger", n.name)
				}
			}
		})
	}
}
