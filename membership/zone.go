package membership

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/hashicorp/mdns"
	"github.com/miekg/dns"
)

const (
	mdnsService = "_nodeserver._tcp"
	mdnsSuffix  = "." + mdnsService + ".local."
	mdnsVersion = "1"
	maxTXT      = 200 // bytes in all, so that an answer is one small packet
	maxLabel    = 40  // bytes of an instance name; beyond 63 nothing would answer
)

// announcement is what one incarnation of a node announces by mDNS. An announcement from the
// network is only a hint: anybody there can send any.
type announcement struct {
	cluster string
	id      ID
	address string // host:port of the channel
}

// txt is the announcement as strings of a TXT record. The incarnation's key is short: keys have at
// most nine characters (RFC 6763 section 6.4). DNS libraries change all but printable ASCII, so the
// cluster's name is escaped.
func (a announcement) txt() ([]string, error) {
	list := []string{
		"v=" + mdnsVersion,
		"c=" + url.QueryEscape(a.cluster),
		"id=" + a.id.Name,
		"inc=" + strconv.FormatUint(a.id.Incarnation, 16),
		"a=" + a.address,
	}
	n := 0
	for _, s := range list {
		n += len(s) + 1
	}
	if n >= maxTXT {
		return nil, fmt.Errorf("cluster name %q, node name and address %s take %d bytes in mDNS and may take %d: "+
			"shorten cluster.name or advertise an IP address", a.cluster, a.address, n, maxTXT-1)
	}
	return list, nil
}

// parseTXT reads the strings of txt. It ignores unknown fields, which are for later versions.
func parseTXT(list []string) (announcement, error) {
	var a announcement
	var err error
	for _, s := range list {
		key, value, _ := strings.Cut(s, "=")
		switch key {
		case "c":
			a.cluster, err = url.QueryUnescape(value)
		case "id":
			a.id.Name, err = value, CheckName(value)
		case "inc":
			a.id.Incarnation, err = strconv.ParseUint(value, 16, 64)
		case "a":
			a.address, err = value, CheckAddress(value)
		}
		if err != nil {
			return announcement{}, fmt.Errorf("mdns field %s: %w", key, err)
		}
	}
	if a.cluster == "" || a.id.Name == "" || a.id.Incarnation == 0 || a.address == "" {
		return announcement{}, fmt.Errorf("mdns answer lacks one of c, id, inc, a")
	}
	return a, nil
}

// instance names this incarnation within the service. The name is readable, and different for
// incarnations that differ in anything, since equal names would hide each other in one answer. It
// has a hash because DNS names have no case and libraries escape most special characters.
func (a announcement) instance() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%s/%x", a.cluster, a.id.Name, a.id.Incarnation))
	readable := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, a.cluster+"-"+a.id.Name)
	const hash = 5 // bytes
	readable = readable[:min(len(readable), maxLabel-2*hash-1)]
	return fmt.Sprintf("%s-%x", strings.Trim(readable, "-"), sum[:hash])
}

// zone is the answer of one announcement. It never changes, so goroutines can read it without a
// lock.
type zone struct {
	instance string // fully qualified
	records  []dns.RR
	packet   []byte // the records as they are sent
}

// newZone prepares the answer. It contains the interface's own address because DNS-SD requires one;
// nodes dial the address in the TXT record.
func newZone(a announcement, ip netip.Addr) (*zone, error) {
	txt, err := a.txt()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(a.address)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port of %s: %w", a.address, err)
	}
	service, err := mdns.NewMDNSService(a.instance(), mdnsService, "local.", a.instance()+".local.", int(n), []net.IP{ip.AsSlice()}, txt)
	if err != nil {
		return nil, fmt.Errorf("mdns records: %w", err)
	}
	z := &zone{instance: a.instance() + mdnsSuffix}
	z.records = service.Records(dns.Question{Name: mdnsSuffix[1:], Qtype: dns.TypePTR})
	// Header as RFC 6762 section 18 has it.
	m := dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}, Compress: true, Answer: z.records}
	if z.packet, err = m.Pack(); err != nil {
		return nil, fmt.Errorf("mdns answer: %w", err)
	}
	return z, nil
}

// answers tells whether the question is for the service or for this instance. The whole zone is the
// answer to both.
func (z *zone) answers(q dns.Question) bool {
	return strings.EqualFold(q.Name, mdnsSuffix[1:]) || strings.EqualFold(q.Name, z.instance)
}
