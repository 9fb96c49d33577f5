package membership

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/mdns"
	"github.com/miekg/dns"
)

const (
	mdnsInterval = 5 * time.Second
	maxClusters  = 16 // other clusters that are logged
)

// MulticastConfig says what a node announces by mDNS, and where.
type MulticastConfig struct {
	Cluster   string        // nodes of other clusters are ignored
	Self      Member        // announced by ID and ChannelAddress; with an empty Name the provider only queries
	Interface string        // like "eth0"; empty: the one that holds Self.ChannelAddress
	Interval  time.Duration // between questions once all is quiet; 0: 5 s
}

// Multicast is the provider that asks the local network by mDNS, and that answers the questions of
// others if the node is a member.
type Multicast struct {
	self     announcement
	zone     *zone // nil: no answers
	iface    string
	lo       bool
	interval time.Duration
	log      *slog.Logger
	count    counters
	foreign  map[string]bool // other clusters that were logged; for the goroutine that reads
}

var _ Provider = (*Multicast)(nil)

// NewMulticast chooses the interface and checks that multicast works over it (see [CheckMulticast];
// the group is joined for a moment). Errors name the cure; where an error wraps [ErrNoMulticast],
// static addresses are a way out. A loopback address is refused on an interface that leads to
// others.
func NewMulticast(cfg MulticastConfig, log *slog.Logger) (*Multicast, error) {
	if cfg.Cluster == "" {
		return nil, errors.New("mdns needs the cluster's name: set cluster.name")
	}
	ifi, err := chooseInterface(cfg.Interface, cfg.Self.ChannelAddress)
	if err != nil {
		return nil, fmt.Errorf("interface for mdns: %w", err)
	}
	m := &Multicast{
		self: announcement{cluster: cfg.Cluster, id: cfg.Self.ID}, iface: ifi.Name, lo: ifi.Flags&net.FlagLoopback != 0,
		interval: cfg.Interval, log: log, foreign: map[string]bool{},
	}
	if m.interval <= 0 {
		m.interval = mdnsInterval
	}
	if cfg.Self.Name != "" {
		if err := m.announce(ifi, cfg.Self.ChannelAddress); err != nil {
			return nil, err
		}
	}
	if err := checkMulticast(ifi); err != nil {
		return nil, err
	}
	return m, nil
}

// announce prepares the node's answer.
func (m *Multicast) announce(ifi netInterface, address string) error {
	at, err := advertised(ifi, address)
	if err != nil {
		return fmt.Errorf("address to announce by mdns: %w", err)
	}
	if Loopback(at) && !m.lo {
		return fmt.Errorf("channel address %s over interface %s: other machines can't reach a loopback address; "+
			"set channel.address (or channel.advertise) to an address of %s (%s), "+
			`or membership.interface = "lo" if all nodes run on this machine`, at, ifi.Name, ifi.Name, ifi.ipv4())
	}
	m.self.address = at
	m.zone, err = newZone(m.self, ifi.ipv4())
	return err
}

// Name is "mdns".
func (m *Multicast) Name() string { return "mdns" }

// Stats is safe for concurrent use.
func (m *Multicast) Stats() Stats { return m.count.stats() }

// Run answers questions and asks: five times in the first 2 s, then each interval ± 25 %. When
// multicast stops working, Run logs that once and goes on trying, so it always returns nil. The
// goroutines of the mDNS library end by themselves a moment after each question.
func (m *Multicast) Run(ctx context.Context, found func(Candidate)) error {
	l := listening{m: m, found: found}
	defer l.close()
	t := time.NewTimer(0)
	defer t.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		t.Reset(pause(n, m.interval, rand.Float64()))
		m.count.report(m.ask(&l), m.log, m.Name())
	}
}

// pause is the time from the start of question n to the start of the next. The first ones make up
// for lost packets; the jitter, r of [0, 1), keeps nodes that were started together from asking
// together for ever.
func pause(n int, interval time.Duration, r float64) time.Duration {
	if first := []time.Duration{250, 250, 500, 1000}; n < len(first) {
		return first[n] * time.Millisecond
	}
	return time.Duration(float64(interval) * (0.75 + r/2))
}

// ask sends one question. Nodes answer to the group, where this node listens.
func (m *Multicast) ask(l *listening) error {
	// Where a join fails, the library leaves a socket open: the join is tried here before.
	ifi, err := namedInterface(m.iface)
	if err != nil {
		return err
	}
	if err := checkMulticast(ifi); err != nil {
		return err
	}
	if err := l.keep(ifi); err != nil {
		return err
	}
	// The library's sockets don't say where an answer came from, so the library only asks.
	err = mdns.Query(&mdns.QueryParam{
		Service: mdnsService, Domain: "local", Timeout: time.Nanosecond, Interface: &ifi.Interface,
		Entries: make(chan *mdns.ServiceEntry, 1), DisableIPv6: true, Logger: log.New(io.Discard, "", 0),
	})
	if err != nil {
		return fmt.Errorf("ask %s over %s: %w", group(), m.iface, err)
	}
	return nil
}

// packet takes one packet of the group. It proposes at most one address, and tells whether the
// packet asks for this node's answer.
func (m *Multicast) packet(p packet, found func(Candidate)) (asked bool) {
	var msg dns.Msg
	if err := msg.Unpack(p.data); err != nil {
		m.count.noise.Add(1)
		return false
	}
	switch {
	case msg.Opcode != dns.OpcodeQuery || msg.Rcode != dns.RcodeSuccess: // RFC 6762 section 18.3 and 18.11
		m.count.noise.Add(1)
	case !msg.Response:
		return m.zone != nil && slices.ContainsFunc(msg.Question, m.zone.answers)
	case !p.local():
		m.count.noise.Add(1)
	default:
		for _, rr := range append(msg.Answer, msg.Extra...) {
			if txt, ok := rr.(*dns.TXT); ok && ours(txt.Hdr.Name) {
				m.answer(txt.Txt, found)
				break
			}
		}
	}
	return false
}

// ours tells whether the name is of an instance of our service. Other services use the group, too.
func ours(name string) bool {
	return len(name) > len(mdnsSuffix) && strings.EqualFold(name[len(name)-len(mdnsSuffix):], mdnsSuffix)
}

// answer judges one announcement.
func (m *Multicast) answer(txt []string, found func(Candidate)) {
	a, err := parseTXT(txt)
	switch {
	case err != nil:
		m.count.refused.Add(1)
		m.log.Debug("mdns answer is of no use", "err", err)
	case a.cluster != m.self.cluster:
		m.count.foreign.Add(1)
		m.stranger(a)
	case a.id == m.self.id:
	case Loopback(a.address) && !m.lo:
		m.count.refused.Add(1)
		m.log.Debug("mdns answer from elsewhere names a loopback address", "member", a.id.String(), "addr", a.address)
	default:
		m.count.answers.Add(1)
		found(Candidate{Address: a.address, Unproven: true})
	}
}

// stranger logs each other cluster once: with a typing error in cluster.name, a node would
// otherwise stay alone without any message.
func (m *Multicast) stranger(a announcement) {
	if m.foreign[a.cluster] || len(m.foreign) >= maxClusters {
		return
	}
	m.foreign[a.cluster] = true
	m.log.Info("another cluster is on this network",
		"cluster", a.cluster, "own_cluster", m.self.cluster, "member", a.id.String(), "addr", a.address)
}
