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
	mdnsTTL     = 120 // seconds; others here don't look at it, absence proves nothing
	maxTXT      = 200 // bytes in all, so that an answer is one small packet
	maxLabel    = 40  // bytes of an instance name; beyond 63 nothing would answer
)

// announcement is what one life of a node says of itself by mDNS, and what is
// read from others. Anybody on the network can say anything: it is a hint.
type announcement struct {
	cluster string
	id      ID
	address string // host:port of the channel
}

// txt is the announcement as strings of a TXT record. Only printable ASCII
// passes through DNS libraries unharmed, so the cluster's name is escaped.
func (a announcement) txt() ([]string, error) {
	list := []string{
		"v=" + mdnsVersion,
		"c=" + url.QueryEscape(a.cluster),
		"id=" + a.id.Name,
		"inc=" + strconv.FormatUint(a.id.Boot, 16),
		"a=" + a.address,
	}
	n := 0
	for _, s := range list {
		n += len(s) + 1
	}
	if n >= maxTXT {
		return nil, fmt.Errorf("cluster name %q, node name and address %s take %d bytes in mDNS and may take %d: shorten cluster.name or advertise an IP address", a.cluster, a.address, n, maxTXT-1)
	}
	return list, nil
}

// parseTXT reads what txt wrote. Unknown fields are left to later versions.
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
			a.id.Boot, err = strconv.ParseUint(value, 16, 64)
		case "a":
			a.address, err = value, CheckAddress(value)
		}
		if err != nil {
			return announcement{}, fmt.Errorf("mdns field %s: %w", key, err)
		}
	}
	if a.cluster == "" || a.id.Name == "" || a.id.Boot == 0 || a.address == "" {
		return announcement{}, fmt.Errorf("mdns answer lacks one of c, id, inc, a")
	}
	return a, nil
}

// instance names this life within the service: readable, and different for
// lives that differ in anything, since equal ones would hide each other in one
// answer. DNS names know no case and libraries escape most signs, hence the hash.
func (a announcement) instance() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%s/%x", a.cluster, a.id.Name, a.id.Boot))
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

// zone answers questions for one announcement. It never changes, so that the
// library's goroutines can read it freely.
type zone struct {
	instance string // fully qualified
	records  []dns.RR
}

var _ mdns.Zone = (*zone)(nil)

// newZone prepares the answer. The interface's own address goes along because
// the library takes no answer without one; we dial what the TXT record says.
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
	z := &zone{instance: a.instance() + mdnsSuffix}
	host := a.instance() + ".local."
	head := func(name string, t uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: t, Class: dns.ClassINET, Ttl: mdnsTTL}
	}
	z.records = []dns.RR{
		&dns.PTR{Hdr: head(mdnsSuffix[1:], dns.TypePTR), Ptr: z.instance},
		&dns.SRV{Hdr: head(z.instance, dns.TypeSRV), Priority: 10, Weight: 1, Port: uint16(n), Target: host},
		&dns.A{Hdr: head(host, dns.TypeA), A: ip.AsSlice()},
		&dns.TXT{Hdr: head(z.instance, dns.TypeTXT), Txt: txt},
	}
	return z, nil
}

// Records answers a question for the service or for this instance with all
// there is to say, and no other. Called from the library's goroutines.
func (z *zone) Records(q dns.Question) []dns.RR {
	if strings.EqualFold(q.Name, mdnsSuffix[1:]) || strings.EqualFold(q.Name, z.instance) {
		return z.records
	}
	return nil
}
