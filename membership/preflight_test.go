package membership

import (
	"errors"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/e2e/netns"
)

func TestCheckMulticastNamesTheCure(t *testing.T) {
	t.Parallel()
	h := netns.Lo(t, "lo")
	for _, tc := range []struct {
		name   string
		before string // ip commands
		iface  string
		want   string // empty: works
		cfg    bool   // a mistake in the configuration
	}{
		{
			"no route", "", "lo",
			"no multicast over lo: no route for it; run: ip route add 224.0.0.0/4 dev lo", false,
		},
		{"the cure", "route add 224.0.0.0/4 dev lo", "lo", "", false},
		{"unknown", "", "eth9", `there is no interface "eth9" here (there are: lo 127.0.0.1)`, true},
		{"down", "link add d0 type veth peer name d1", "d0", "no multicast over d0: the interface is down; run: ip link set d0 up", false},
		{"no address", "link set d0 up", "d0", "no multicast over d0: the interface has no IPv4 address; " +
			`give it one, or list the members (membership.providers = ["static"])`, false},
		{"a second interface", "addr add 10.77.2.1/24 dev d0", "d0", "", false},
		{
			"a kind without", "link set d0 multicast off", "d0",
			"no multicast over d0: this kind of interface does not carry it; choose another as " +
				`membership.interface, or list the members (membership.providers = ["static"])`, false,
		},
		{
			"the route is gone", "route del 224.0.0.0/4", "lo",
			"no multicast over lo: no route for it; run: ip route add 224.0.0.0/4 dev lo", false,
		},
		{"a default route is enough", "route add default dev lo", "lo", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.before != "" {
				h.IP(strings.Fields(tc.before)...)
			}
			var err error
			h.Do(func() { err = CheckMulticast(tc.iface) })
			switch {
			case err == nil && tc.want != "", err != nil && err.Error() != tc.want:
				t.Errorf("got  %v\nwant %s", err, tc.want)
			case err != nil && errors.Is(err, ErrNoMulticast) == tc.cfg:
				t.Errorf("ErrNoMulticast in the chain: %v", !tc.cfg)
			}
		})
	}
}

func TestInterfaceIsChosen(t *testing.T) {
	t.Parallel()
	alone := netns.Lo(t, "alone")
	h := netns.New(t).Host("two")
	h.IP("link", "add", "eth1", "type", "veth", "peer", "name", "eth2")
	h.IP("addr", "add", "10.78.0.1/24", "dev", "eth1")
	h.IP("link", "set", "eth1", "up")
	for _, tc := range []struct {
		name, iface, address string
		host                 *netns.Host
		want                 string // interface and address to advertise
		err                  string
		before               string
	}{
		{name: "its address", host: h, address: "10.78.0.1:4001", want: "eth1 10.78.0.1:4001"},
		{name: "another address", host: h, address: "10.77.1.1:4001", want: "eth0 10.77.1.1:4001"},
		{name: "loopback", host: h, address: "127.0.0.1:4001", want: "lo 127.0.0.1:4001"},
		{name: "another loopback", host: h, address: "127.0.0.7:4001", want: "lo 127.0.0.7:4001"},
		{name: "named wins", host: h, address: "10.78.0.1:4001", iface: "eth0", want: "eth0 10.78.0.1:4001"},
		{name: "named, all addresses", host: h, address: "0.0.0.0:4001", iface: "eth1", want: "eth1 10.78.0.1:4001"},
		{name: "all, by the route", host: h, address: "[::]:4001", want: "eth0 10.77.1.1:4001"},
		{name: "all, by another route", host: h, before: "route replace default dev eth1", address: ":4001", want: "eth1 10.78.0.1:4001"},
		{
			name: "all, no route", host: h, before: "route del default", address: "0.0.0.0:4001",
			err: "the channel's address 0.0.0.0:4001 stands for several interfaces, and no default route says " +
				"which leads to the other members: set membership.interface to one of eth0 10.77.1.1, eth1 10.78.0.1",
		},
		{name: "all, one is left", host: h, before: "link set eth1 down", address: ":4001", want: "eth0 10.77.1.1:4001"},
		{name: "all, loopback only", host: alone, address: ":4001", want: "lo 127.0.0.1:4001"},
		{
			name: "all, nothing", host: alone, before: "link set lo down", address: ":4001",
			err: "no multicast: no interface is up and has an IPv4 address (there are: lo 127.0.0.1)",
		},
		{name: "malformed", host: h, address: "4001", err: `"4001" is not host:port (like 10.0.0.1:4001)`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.before != "" {
				tc.host.IP(strings.Fields(tc.before)...)
			}
			var got string
			var err error
			tc.host.Do(func() {
				var i netInterface
				if i, err = chooseInterface(tc.iface, tc.address); err != nil {
					return
				}
				at, e := advertised(i, tc.address)
				got, err = i.Name+" "+at, e
			})
			switch {
			case tc.err == "" && (err != nil || got != tc.want):
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			case tc.err != "" && (err == nil || err.Error() != tc.err):
				t.Errorf("got  %v\nwant %s", err, tc.err)
			}
		})
	}
}

func TestAdvertise(t *testing.T) {
	t.Parallel()
	h := netns.New(t).Host("a")
	for _, tc := range []struct{ address, iface, want string }{
		{"0.0.0.0:4001", "", "10.77.1.1:4001"},
		{"[::]:4001", "lo", "127.0.0.1:4001"},
		{"node1:4001", "", "node1:4001"}, // nothing is looked up
	} {
		var got string
		var err error
		h.Do(func() { got, err = Advertise(tc.address, tc.iface) })
		if err != nil || got != tc.want {
			t.Errorf("%s over %q: got %q, %v; want %q", tc.address, tc.iface, got, err, tc.want)
		}
	}
}
