package membership

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
)

const (
	mdnsPort  = 5353
	mdnsHops  = 255     // RFC 6762 section 11: a router would have made it less
	maxPacket = 9 << 10 // bytes; RFC 6762 section 17

	// Answers go to the group: answerBurst at once, then one per answerEvery, however often nodes
	// ask. A question in between gets the next answer.
	answerBurst = 3
	answerEvery = time.Second
)

// packet is what arrived at the group, and how.
type packet struct {
	data []byte
	from netip.AddrPort
	hops int // left when it arrived
}

// local tells whether an answer comes from a responder of this very link: from the port of mDNS
// (RFC 6762 section 6), and by no router.
func (p packet) local() bool { return p.hops == mdnsHops && p.from.Port() == mdnsPort }

// listening is the socket at which a provider receives the packets of the group, as long as the
// interface exists. It is not the mDNS library's, since the provider must know the interface, the
// sender and the destination address of each packet.
type listening struct {
	m     *Multicast
	found func(Candidate)

	index int
	ifi   atomic.Pointer[netInterface] // as it is now
	conn  net.PacketConn               // nil: none
	asked chan struct{}
	ended chan struct{} // closed when reading has ended, for whatever reason
	parts sync.WaitGroup
}

// keep opens the socket, or opens it anew when the interface was taken away and another has come
// under its name: the old group membership went with it.
func (l *listening) keep(ifi netInterface) error {
	l.ifi.Store(&ifi)
	if l.conn != nil && l.index == ifi.Index && !l.over() {
		return nil
	}
	l.close()
	conn, err := listenGroup()
	if err != nil {
		return joinError(ifi.Name, err)
	}
	p := ipv4.NewPacketConn(conn)
	for _, set := range []func() error{
		func() error { return p.JoinGroup(&ifi.Interface, group()) },
		func() error { return p.SetControlMessage(ipv4.FlagTTL|ipv4.FlagDst|ipv4.FlagInterface, true) },
		func() error { return p.SetMulticastInterface(&ifi.Interface) },
		func() error { return p.SetMulticastTTL(mdnsHops) },
		func() error { return p.SetMulticastLoopback(true) }, // other nodes of this machine
	} {
		if err := set(); err != nil {
			_ = conn.Close() // was never used
			return joinError(ifi.Name, err)
		}
	}
	l.index, l.conn, l.asked, l.ended = ifi.Index, conn, make(chan struct{}, 1), make(chan struct{})
	l.parts.Go(func() { l.read(p) })
	l.parts.Go(func() { l.answer(p) })
	return nil
}

func (l *listening) over() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// close ends reading and answering, and waits for it.
func (l *listening) close() {
	if l.conn == nil {
		return
	}
	_ = l.conn.Close() // nothing was written that could be lost
	l.parts.Wait()
	l.conn = nil
}

// read takes packets until the socket is closed, or fails: the next question then opens a new one.
func (l *listening) read(p *ipv4.PacketConn) {
	defer close(l.ended)
	buf := make([]byte, maxPacket)
	for {
		n, how, from, err := p.ReadFrom(buf)
		if err != nil {
			return
		}
		udp, ok := from.(*net.UDPAddr)
		if !ok || how == nil || !l.arrived(how, udp.AddrPort().Addr()) {
			l.m.count.noise.Add(1)
			continue
		}
		if l.m.packet(packet{buf[:n], udp.AddrPort(), how.TTL}, l.found) {
			select {
			case l.asked <- struct{}{}:
			default: // the answer to come is for this question, too
			}
		}
	}
}

// arrived tells whether a packet counts: it came by our interface, to the group, from a machine on
// its network.
func (l *listening) arrived(how *ipv4.ControlMessage, from netip.Addr) bool {
	ifi := l.ifi.Load()
	return how.IfIndex == ifi.Index && how.Dst.Equal(group().IP) && ifi.onLink(from)
}

// answer sends this node's announcement to the group after a question.
func (l *listening) answer(p *ipv4.PacketConn) {
	var rate pace
	for {
		select {
		case <-l.ended:
			return
		case <-l.asked:
		}
		select {
		case <-l.ended:
			return
		case <-time.After(rate.next(time.Now())):
		}
		select { // this answer is for the questions of that time, too
		case <-l.asked:
		default:
		}
		ifi := l.ifi.Load()
		from := &ipv4.ControlMessage{IfIndex: ifi.Index, Src: ifi.ipv4().AsSlice()}
		if _, err := p.WriteTo(l.m.zone.packet, from, group()); err != nil && !errors.Is(err, net.ErrClosed) {
			l.m.log.Debug("mdns answer not sent", "err", err)
		}
	}
}

// pace limits how often something is done: a token bucket, kept as the time at which it is full.
type pace struct{ full time.Time }

// next takes a place, and says how long to wait for it.
func (p *pace) next(now time.Time) time.Duration {
	if p.full.Before(now) {
		p.full = now
	}
	p.full = p.full.Add(answerEvery)
	return max(0, p.full.Sub(now)-answerBurst*answerEvery)
}
