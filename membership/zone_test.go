package membership

import (
	"net/netip"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

var awkward = []announcement{
	{"shop", ID{"n1", 1}, "10.0.0.1:4001"},
	{"shop", ID{"n1", 2}, "10.0.0.1:4001"},
	{"shop", ID{"N1", 1}, "10.0.0.1:4001"},
	{"Shop", ID{"n1", 1}, "10.0.0.1:4001"},
	{"shop-n1", ID{"_", 1}, "[2001:db8::1]:4001"},
	{"shop", ID{"n1-_", 1}, "node-1.nodes.svc:4001"},
	{`K\ä"se &=%+ 1.2`, ID{"n1", 0xffffffffffffffff}, "10.0.0.1:4001"},
	{strings.Repeat("x", 60), ID{strings.Repeat("n", 32), 1 << 63}, "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"},
}

// What one node announces must arrive as it is at another, over the library's wire form.
func TestAnnouncementOverTheWire(t *testing.T) {
	for _, a := range awkward {
		z, err := newZone(a, netip.MustParseAddr("10.0.0.1"))
		if err != nil {
			t.Fatal(err)
		}
		if len(z.packet) > 512 || len(z.records) != 4 {
			t.Errorf("%+v: an answer of %d bytes, %d records", a, len(z.packet), len(z.records))
		}
		var m dns.Msg
		if err := m.Unpack(z.packet); err != nil {
			t.Fatal(err)
		}
		for _, rr := range m.Answer {
			txt, ok := rr.(*dns.TXT)
			if !ok {
				continue
			}
			if got, err := parseTXT(txt.Txt); err != nil || !reflect.DeepEqual(got, a) {
				t.Errorf("announced %+v, received %+v, %v", a, got, err)
			}
		}
	}
}

func TestInstanceNamesDiffer(t *testing.T) {
	allowed := regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,38}[a-z0-9]$`)
	seen := map[string]announcement{}
	for _, a := range awkward {
		s := a.instance()
		if !allowed.MatchString(s) {
			t.Errorf("%+v: instance %q", a, s)
		}
		if b, twice := seen[s]; twice {
			t.Errorf("%+v and %+v are both %q", a, b, s)
		}
		seen[s] = a
	}
}

func TestZoneAnswersForItselfOnly(t *testing.T) {
	z, err := newZone(awkward[0], netip.MustParseAddr("10.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"_nodeserver._tcp.local.":    true,
		"_NODESERVER._tcp.Local.":    true,
		z.instance:                   true,
		strings.ToUpper(z.instance):  true,
		"_http._tcp.local.":          false,
		"x._nodeserver._tcp.local.":  false,
		"_services._dns-sd._udp.lo.": false,
	} {
		if got := z.answers(dns.Question{Name: name, Qtype: dns.TypePTR}); got != want {
			t.Errorf("%s: answered %v, want %v", name, got, want)
		}
	}
}

func FuzzParseTXT(f *testing.F) {
	for _, a := range awkward {
		list, err := a.txt()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(strings.Join(list, "|"))
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parseTXT(strings.Split(s, "|"))
		if err != nil {
			return
		}
		if CheckName(a.id.Name) != nil || CheckAddress(a.address) != nil || a.id.Incarnation == 0 || a.cluster == "" {
			t.Errorf("%q was read as %+v", s, a)
		}
	})
}
