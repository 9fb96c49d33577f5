package membership

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/nodeserver/nodeserver/e2e/netns"
)

// node is a provider that runs on a host, and what it found.
type node struct {
	*Multicast
	log *bytes.Buffer // read it after the node has stopped
	end func()        // stops it and waits

	mu   sync.Mutex
	seen map[string]int
}

func (n *node) found(c Candidate) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen[c.Address]++
}

// saw is the addresses found since the last forget, sorted.
func (n *node) saw() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []string
	for a := range n.seen {
		list = append(list, a)
	}
	slices.Sort(list)
	return list
}

func (n *node) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.seen)
}

// start runs a provider on the host, asking every 300 ms once it is quiet.
func start(t *testing.T, h *netns.Host, cluster string, id ID, address string) *node {
	t.Helper()
	n := &node{seen: map[string]int{}, log: &bytes.Buffer{}}
	cfg := MulticastConfig{Cluster: cluster, Self: Member{ID: id, ChannelAddress: address}, Interval: 300 * time.Millisecond}
	var err error
	h.Do(func() { n.Multicast, err = NewMulticast(cfg, slog.New(slog.NewTextHandler(n.log, nil))) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		h.Do(func() {
			if err := n.Run(ctx, n.found); err != nil {
				t.Errorf("run of %s: %v", id, err)
			}
		})
	})
	n.end = func() { cancel(); wg.Wait() }
	t.Cleanup(n.end)
	return n
}

// within polls until ok or fails the test with what is so instead.
func within(t *testing.T, d time.Duration, ok func() bool, instead func() any) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within %v; instead: %v", d, instead())
		}
	}
}

func (n *node) sees(t *testing.T, d time.Duration, want ...string) {
	t.Helper()
	within(t, d, func() bool { return slices.Equal(n.saw(), want) }, func() any {
		return []any{n.self.id, "saw", n.saw(), "wants", want, n.Stats()}
	})
}

func TestMulticastFindsMembersOnABridge(t *testing.T) {
	t.Parallel()
	net := netns.New(t)
	a, b, c := net.Host("a"), net.Host("b"), net.Host("c")
	began := time.Now()
	stranger := start(t, b, "other", ID{"n1", 9}, "10.77.1.2:5001")
	n1 := start(t, a, "shop", ID{"n1", 1}, "10.77.1.1:4001")
	n2 := start(t, b, "shop", ID{"n2", 2}, "0.0.0.0:4001") // announced as the interface's address
	n3 := start(t, c, "shop", ID{"n3", 3}, ":4001")
	n1.sees(t, 2*time.Second, "10.77.1.2:4001", "10.77.1.3:4001")
	n2.sees(t, 2*time.Second, "10.77.1.1:4001", "10.77.1.3:4001")
	n3.sees(t, 2*time.Second, "10.77.1.1:4001", "10.77.1.2:4001")
	t.Logf("all found after %v", time.Since(began))

	within(t, 2*time.Second, func() bool { return n1.Stats().Foreign > 0 }, func() any { return n1.Stats() })
	stranger.sees(t, 0)
	if s := n1.Stats(); s.Errors != 0 || s.Problem != "" || s.Queries == 0 || s.Answers < 2 {
		t.Errorf("stats of a quiet network: %+v", s)
	}
	n1.end()
	if s := n1.log.String(); strings.Count(s, "another cluster") != 1 || !strings.Contains(s, "cluster=other") {
		t.Errorf("another cluster is to be logged once, got\n%s", s)
	}
}

// A process that is no member, like a balancer, finds members and is not found.
func TestMulticastWithoutANameOnlyAsks(t *testing.T) {
	t.Parallel()
	h := netns.New(t).Host("a")
	door := start(t, h, "shop", ID{}, "127.0.0.1:4001")
	n1 := start(t, h, "shop", ID{"n1", 1}, "127.0.0.1:4002")
	n2 := start(t, h, "shop", ID{"n2", 2}, "127.0.0.1:4003")
	door.sees(t, 2*time.Second, "127.0.0.1:4002", "127.0.0.1:4003")
	n1.sees(t, 2*time.Second, "127.0.0.1:4003")
	n2.sees(t, 2*time.Second, "127.0.0.1:4002")
	asked := n1.Stats().Queries
	within(t, 3*time.Second, func() bool { return n1.Stats().Queries >= asked+3 }, func() any { return n1.Stats() })
	if s := n1.Stats(); s.Refused != 0 {
		t.Errorf("something answers like a member and is none: %+v", s)
	}
	n1.sees(t, 0, "127.0.0.1:4003")
}

func TestMulticastOnLoopback(t *testing.T) {
	t.Parallel()
	h := netns.Lo(t, "lo")
	h.IP("route", "add", "224.0.0.0/4", "dev", "lo")
	n1 := start(t, h, "shop", ID{"n1", 1}, "127.0.0.1:4001")
	n2 := start(t, h, "shop", ID{"n2", 2}, "127.0.0.1:4002")
	twin := start(t, h, "shop", ID{"n1", 7}, "127.0.0.1:4003") // a name taken twice is found, so that the channel can refuse it
	n1.sees(t, 2*time.Second, "127.0.0.1:4002", "127.0.0.1:4003")
	n2.sees(t, 2*time.Second, "127.0.0.1:4001", "127.0.0.1:4003")
	twin.sees(t, 2*time.Second, "127.0.0.1:4001", "127.0.0.1:4002")
}

// The ordinary machine: multicast is routed elsewhere, nodes meet on lo.
func TestMulticastOnLoopbackBesideANetwork(t *testing.T) {
	t.Parallel()
	h := netns.New(t).Host("a")
	n1 := start(t, h, "shop", ID{"n1", 1}, "127.0.0.1:4001")
	n2 := start(t, h, "shop", ID{"n2", 2}, "127.0.0.1:4002")
	n1.sees(t, 2*time.Second, "127.0.0.1:4002")
	n2.sees(t, 2*time.Second, "127.0.0.1:4001")
}

func TestMulticastSurvivesItsNetwork(t *testing.T) {
	nw := netns.New(t)
	a, b := nw.Host("a"), nw.Host("b")
	n1 := start(t, a, "shop", ID{"n1", 1}, "10.77.1.1:4001")
	n2 := start(t, b, "shop", ID{"n2", 2}, "10.77.1.2:4001")
	n1.sees(t, 2*time.Second, "10.77.1.2:4001")

	// The cable is pulled and put back.
	b.Unplug()
	quiet := n1.Stats().Queries + 2
	within(t, 3*time.Second, func() bool { return n1.Stats().Queries > quiet }, func() any { return n1.Stats() })
	n1.forget()
	b.Plug()
	n1.sees(t, 2*time.Second, "10.77.1.2:4001")

	// The route goes and comes back.
	b.IP("route", "del", "default")
	within(t, 2*time.Second, func() bool { return n2.Stats().Problem != "" }, func() any { return n2.Stats() })
	if p := n2.Stats().Problem; p != "no multicast over eth0: no route for it; run: ip route add 224.0.0.0/4 dev eth0" {
		t.Errorf("problem: %s", p)
	}
	fds := openFiles(t)
	failed := n2.Stats().Errors
	within(t, 5*time.Second, func() bool { return n2.Stats().Errors > failed+3 }, func() any { return n2.Stats() })
	if now := openFiles(t); now > fds+6 { // n1 goes on and has some open while it asks
		t.Errorf("%d files open, %d before: questions that can't be sent must not cost", now, fds)
	}
	n2.forget()
	b.IP("route", "add", "224.0.0.0/4", "dev", "eth0")
	n2.sees(t, 3*time.Second, "10.77.1.1:4001")
	n2.end()
	if s := n2.log.String(); strings.Count(s, "the provider can't find members") != 1 || strings.Count(s, "again") != 1 {
		t.Errorf("a failure and its end are to be logged once each, got\n%s", s)
	}
}

// An interface that was removed took the group membership along: the listening side has to join
// anew on its successor.
func TestListeningJoinsASuccessor(t *testing.T) {
	t.Parallel()
	h := netns.Lo(t, "lo")
	l := listening{m: &Multicast{}}
	t.Cleanup(l.close)
	for incarnation := range 2 {
		h.IP("link", "add", "e0", "type", "veth", "peer", "name", "e1")
		h.IP("addr", "add", "10.77.9.1/24", "dev", "e0")
		h.IP("link", "set", "e0", "up")
		for range 2 { // the second time there is nothing to do
			var err error
			h.Do(func() {
				var i netInterface
				if i, err = namedInterface("e0"); err == nil {
					err = l.keep(i)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if groups := h.IP("maddr", "show", "dev", "e0"); strings.Count(groups, "224.0.0.251") != 1 {
				t.Errorf("interface %d of this name is not in the group:\n%s", incarnation, groups)
			}
		}
		h.IP("link", "del", "e0")
	}
}

// mouth is a socket of somebody who says what they like.
func mouth(t *testing.T, h *netns.Host, from string, hops int) *ipv4.PacketConn {
	t.Helper()
	var conn net.PacketConn
	var ifi *net.Interface
	var err error
	h.Do(func() {
		var lc net.ListenConfig
		lc.Control = func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
		}
		if conn, err = lc.ListenPacket(t.Context(), "udp4", from); err == nil {
			ifi, err = net.InterfaceByName("eth0")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	p := ipv4.NewPacketConn(conn)
	for _, err := range []error{p.SetMulticastInterface(ifi), p.SetMulticastTTL(hops), p.SetTTL(hops)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func say(t *testing.T, p *ipv4.PacketConn, to *net.UDPAddr, b []byte) {
	t.Helper()
	if _, err := p.WriteTo(b, nil, to); err != nil {
		t.Error(err)
	}
}

func announced(t *testing.T, a announcement) []byte {
	t.Helper()
	z, err := newZone(a, netip.MustParseAddr("10.77.1.2"))
	if err != nil {
		t.Fatal(err)
	}
	return z.packet
}

func TestMulticastBearsRubbish(t *testing.T) {
	t.Parallel()
	nw := netns.New(t)
	a, b := nw.Host("a"), nw.Host("b")
	n1 := start(t, a, "shop", ID{"n1", 1}, "10.77.1.1:4001")

	within(t, 2*time.Second, func() bool { return n1.Stats().Queries > 0 }, func() any { return n1.Stats() })

	// Somebody claims to be a member at this machine's loopback, and talks nonsense.
	liar := mouth(t, b, "10.77.1.2:5353", mdnsHops)
	packets := []string{"", "x", strings.Repeat("\xff", 100), "\x00\x00\x02\x00" + strings.Repeat("\x00", 8)}
	packets = append(packets, string(announced(t, announcement{"shop", ID{"n9", 9}, "127.0.0.1:4001"})))
	within(t, 3*time.Second, func() bool {
		for _, p := range packets { // again and again, since UDP may lose a packet
			say(t, liar, group(), []byte(p))
		}
		s := n1.Stats()
		return s.Noise > 0 && s.Refused > 0
	}, func() any { return n1.Stats() })
	n2 := start(t, b, "shop", ID{"n2", 2}, "10.77.1.2:4001")
	n1.sees(t, 2*time.Second, "10.77.1.2:4001")
	n2.sees(t, 2*time.Second, "10.77.1.1:4001")
}

// Only what was said on the link, to the group, by a responder of the link counts.
func TestPacketsFromElsewhereDontCount(t *testing.T) {
	t.Parallel()
	nw := netns.New(t)
	a, b := nw.Host("a"), nw.Host("b")
	a.IP("link", "add", "eth1", "type", "veth", "peer", "name", "eth2")
	a.IP("addr", "add", "10.78.0.1/24", "dev", "eth1")
	a.IP("link", "set", "eth1", "up")
	b.IP("addr", "add", "192.0.2.7/32", "dev", "eth0") // of no network of the link
	n1 := start(t, a, "shop", ID{"n1", 1}, "10.77.1.1:4001")
	other := start(t, a, "shop", ID{"n5", 5}, "10.78.0.1:4001") // at the other interface
	within(t, 2*time.Second, func() bool { return n1.Stats().Queries > 0 && other.Stats().Queries > 0 }, func() any { return n1.Stats() })

	lie := func(n byte) []byte {
		return announced(t, announcement{"shop", ID{"liar", uint64(n)}, fmt.Sprintf("10.77.1.66:%d", n)})
	}
	unicast := &net.UDPAddr{IP: net.IPv4(10, 77, 1, 1), Port: mdnsPort}
	say(t, mouth(t, b, "10.77.1.2:5353", mdnsHops), unicast, lie(1))
	say(t, mouth(t, b, "10.77.1.2:5353", mdnsHops-1), group(), lie(2))
	say(t, mouth(t, b, "192.0.2.7:5353", mdnsHops), group(), lie(3))
	say(t, mouth(t, b, "10.77.1.2:5354", mdnsHops), group(), lie(4))
	say(t, mouth(t, b, "10.77.1.2:5353", mdnsHops), group(), lie(5))
	n1.sees(t, 2*time.Second, "10.77.1.66:5")
	other.sees(t, 0)
}

// However often and however much somebody asks, the node answers at its own pace, once a packet,
// and on its own interface.
func TestAnswersAreRationed(t *testing.T) {
	t.Parallel()
	nw := netns.New(t)
	a, b := nw.Host("a"), nw.Host("b")
	a.IP("route", "add", "224.0.0.0/4", "dev", "lo") // as where all nodes are on one machine
	n1 := start(t, a, "shop", ID{"n1", 1}, "10.77.1.1:4001")
	local := start(t, a, "shop", ID{"n2", 2}, "127.0.0.1:4001")
	heard := mouth(t, b, "0.0.0.0:5353", mdnsHops)
	ifi := &net.Interface{}
	b.Do(func() { ifi, _ = net.InterfaceByName("eth0") })
	if err := heard.JoinGroup(ifi, group()); err != nil {
		t.Fatal(err)
	}
	within(t, 5*time.Second, func() bool { return n1.Stats().Queries > 5 && local.Stats().Queries > 5 }, func() any { return n1.Stats() })

	q := dns.Question{Name: mdnsSuffix[1:], Qtype: dns.TypePTR, Qclass: dns.ClassINET}
	many := &dns.Msg{Question: slices.Repeat([]dns.Question{q}, 25)}
	question, err := many.Pack()
	if err != nil {
		t.Fatal(err)
	}
	began, asked, answered, largest := time.Now(), 0, 0, 0
	asks := mouth(t, b, "10.77.1.2:5399", 1)
	buf := make([]byte, 9000)
	for time.Since(began) < 2*time.Second {
		say(t, asks, group(), question)
		asked += len(question)
		_ = heard.SetReadDeadline(time.Now().Add(2 * time.Millisecond))
		n, _, from, err := heard.ReadFrom(buf)
		var m dns.Msg
		if err != nil || m.Unpack(buf[:n]) != nil || !m.Response {
			continue
		}
		if from.String() != "10.77.1.1:5353" || strings.Contains(string(buf[:n]), "127.0.0.1") {
			t.Errorf("an answer of %s on a network it does not belong to", from)
		}
		answered, largest = answered+n, max(largest, n)
	}
	// One more may have been on its way before.
	if took := time.Since(began).Seconds(); answered == 0 || float64(answered) > float64(largest)*(answerBurst+2+took) || answered > asked {
		t.Errorf("%d bytes of questions in %.1f s made %d bytes of answers, the longest of %d", asked, took, answered, largest)
	}
	if largest > 512 {
		t.Errorf("25 questions in one packet got an answer of %d bytes", largest)
	}
}

func TestPace(t *testing.T) {
	var p pace
	at := time.Unix(1000, 0)
	for i, want := range []time.Duration{0, 0, 0, time.Second, 2 * time.Second} {
		if got := p.next(at); got != want {
			t.Errorf("answer %d waits %v, want %v", i, got, want)
		}
	}
	if got := p.next(at.Add(time.Minute)); got != 0 {
		t.Errorf("after a quiet minute an answer waits %v", got)
	}
}

func TestMulticastAnswerIsJudged(t *testing.T) {
	self := announcement{"shop", ID{"n1", 1}, "10.0.0.1:4001"}
	other := announcement{"shop", ID{"n2", 2}, "10.0.0.2:4001"}
	suffix := "._nodeserver._tcp.local."
	entry := func(name string, txt ...string) []dns.RR {
		return []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: txt}}
	}
	announce := func(a announcement) []string {
		txt, err := a.txt()
		if err != nil {
			t.Fatal(err)
		}
		return txt
	}
	for _, tc := range []struct {
		name    string
		records []dns.RR
		want    Stats
	}{
		{"a member", entry("x"+suffix, announce(other)...), Stats{Answers: 1}},
		{"two in one packet", append(
			entry("x"+suffix, announce(other)...),
			entry("y"+suffix, announce(announcement{"shop", ID{"n3", 3}, "10.0.0.3:4001"})...)...,
		), Stats{Answers: 1}},
		{"a suffix in capitals", entry("X._NodeServer._TCP.local.", announce(other)...), Stats{Answers: 1}},
		{"an unknown field", entry("x"+suffix, append(announce(other), "new=1")...), Stats{Answers: 1}},
		{"a later incarnation", entry("x"+suffix, announce(announcement{"shop", ID{"n1", 2}, "10.0.0.1:4001"})...), Stats{Answers: 1}},
		{"this node itself", entry("x"+suffix, announce(self)...), Stats{}},
		{"another service", entry("x._printer._tcp.local.", announce(other)...), Stats{}},
		{"a short name", entry("local.", announce(other)...), Stats{}},
		{"another cluster", entry("x"+suffix, announce(announcement{"Shop", ID{"n2", 2}, "10.0.0.2:4001"})...), Stats{Foreign: 1}},
		{"a loopback address", entry("x"+suffix, announce(announcement{"shop", ID{"n2", 2}, "127.0.0.1:4001"})...), Stats{Refused: 1}},
		{"all of a machine", entry("x"+suffix, "c=shop", "id=n2", "inc=2", "a=0.0.0.0:4001"), Stats{Refused: 1}},
		{"no incarnation", entry("x"+suffix, "c=shop", "id=n2", "a=10.0.0.2:4001"), Stats{Refused: 1}},
		{"a bad name", entry("x"+suffix, "c=shop", "id=n 2", "inc=2", "a=10.0.0.2:4001"), Stats{Refused: 1}},
		{"nothing", entry("x"+suffix, ""), Stats{Refused: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := &Multicast{self: self, log: slog.New(slog.DiscardHandler), foreign: map[string]bool{}}
			n := uint64(0)
			data, err := (&dns.Msg{MsgHdr: dns.MsgHdr{Response: true}, Answer: tc.records}).Pack()
			if err != nil {
				t.Fatal(err)
			}
			m.packet(packet{data, netip.MustParseAddrPort("10.0.0.2:5353"), mdnsHops}, func(Candidate) { n++ })
			if got := m.Stats(); got != tc.want || n != tc.want.Answers {
				t.Errorf("got %+v and %d proposed, want %+v", got, n, tc.want)
			}
		})
	}
}

// A packet of anybody proposes at most one address, a good one, and does no harm.
func FuzzMDNSPacket(f *testing.F) {
	z, err := newZone(awkward[0], netip.MustParseAddr("10.0.0.1"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(z.packet, 255, uint16(5353))
	question, err := (&dns.Msg{Question: []dns.Question{{Name: mdnsSuffix[1:], Qtype: dns.TypePTR, Qclass: dns.ClassINET}}}).Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(question, 1, uint16(40000))
	f.Fuzz(func(t *testing.T, data []byte, hops int, port uint16) {
		m := &Multicast{
			self: announcement{cluster: "shop", id: ID{"n9", 9}}, zone: z,
			log: slog.New(slog.DiscardHandler), foreign: map[string]bool{},
		}
		n := 0
		p := packet{data, netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), port), hops}
		asked := m.packet(p, func(c Candidate) {
			if n++; CheckAddress(c.Address) != nil || Loopback(c.Address) {
				t.Errorf("proposed %+v", c)
			}
		})
		if n > 1 || n > 0 && (asked || !p.local()) {
			t.Errorf("%d proposed, asked %v, by %+v", n, asked, p)
		}
	})
}

func TestPause(t *testing.T) {
	at := time.Duration(0)
	for n, want := range []time.Duration{0, 250, 500, 1000, 2000} {
		if at != want*time.Millisecond {
			t.Errorf("question %d is asked at %v, want %v ms", n, at, int(want))
		}
		at += pause(n, 5*time.Second, 0)
	}
	for r, want := range map[float64]time.Duration{0: 3750, 0.5: 5000, 1: 6250} {
		if got := pause(9, 5*time.Second, r); got != want*time.Millisecond {
			t.Errorf("pause with r=%v is %v, want %v ms", r, got, int(want))
		}
	}
}

func TestNewMulticastRefuses(t *testing.T) {
	t.Parallel()
	h := netns.New(t).Host("a")
	member := func(at string) Member { return Member{ID: ID{"n1", 1}, ChannelAddress: at} }
	for _, tc := range []struct {
		name string
		cfg  MulticastConfig
		want string
	}{
		{
			"loopback over a network",
			MulticastConfig{Cluster: "shop", Self: member("127.0.0.1:4001"), Interface: "eth0"},
			"channel address 127.0.0.1:4001 over interface eth0: other machines can't reach a loopback address; " +
				"set channel.address (or channel.advertise) to an address of eth0 (10.77.1.1), " +
				`or membership.interface = "lo" if all nodes run on this machine`,
		},
		{
			"unknown interface",
			MulticastConfig{Cluster: "shop", Self: member("127.0.0.1:4001"), Interface: "eth7"},
			`interface for mdns: there is no interface "eth7" here (there are: lo 127.0.0.1, eth0 10.77.1.1)`,
		},
		{
			"another machine's address",
			MulticastConfig{Cluster: "shop", Self: member("192.0.2.9:4001")},
			"interface for mdns: no interface here has the channel's address 192.0.2.9:4001: " +
				"set membership.interface to one of lo 127.0.0.1, eth0 10.77.1.1",
		},
		{"no cluster", MulticastConfig{Self: member("127.0.0.1:4001")}, `mdns needs the cluster's name: set cluster.name`},
		{
			"long names",
			MulticastConfig{Cluster: strings.Repeat("ü", 30), Self: member("127.0.0.1:4001")},
			`cluster name "` + strings.Repeat("ü", 30) + `", node name and address 127.0.0.1:4001 take 216 bytes ` +
				"in mDNS and may take 199: shorten cluster.name or advertise an IP address",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var err error
			h.Do(func() { _, err = NewMulticast(tc.cfg, slog.New(slog.DiscardHandler)) })
			if err == nil || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
			if errors.Is(err, ErrNoMulticast) {
				t.Error("a mistake in the configuration must not look like a machine without multicast")
			}
		})
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
