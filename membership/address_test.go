package membership

import (
	"testing"
)

func TestCheckAddress(t *testing.T) {
	for _, good := range []string{
		"10.0.0.1:4001", "[fe80::1%eth0]:1", "[::1]:65535", "node_1.nodes.svc:4001", "localhost:4001", "n:1",
		"n.example.:1",
	} {
		if err := CheckAddress(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for bad, want := range map[string]string{
		"":                `"" is not host:port (like 10.0.0.1:4001)`,
		"node1":           `"node1" is not host:port (like 10.0.0.1:4001)`,
		"::1:4001":        `"::1:4001" is not host:port (like 10.0.0.1:4001)`,
		"node1:":          `"node1:": port must be 1–65535`,
		"node1:0":         `"node1:0": port must be 1–65535`,
		"node1:65536":     `"node1:65536": port must be 1–65535`,
		"node1:http":      `"node1:http": port must be 1–65535`,
		"0.0.0.0:4001":    `"0.0.0.0:4001": members can't dial 0.0.0.0, give the address of one machine`,
		"[::]:4001":       `"[::]:4001": members can't dial ::, give the address of one machine`,
		"224.0.0.1:1":     `"224.0.0.1:1": members can't dial 224.0.0.1, give the address of one machine`,
		":4001":           `":4001": "" is neither an IP address nor a host name`,
		"a b:1":           `"a b:1": "a b" is neither an IP address nor a host name`,
		"http://node1:80": `"http://node1:80" is not host:port (like 10.0.0.1:4001)`,
		"-n:1":            `"-n:1": "-n" is neither an IP address nor a host name`,
	} {
		if err := CheckAddress(bad); err == nil || err.Error() != want {
			t.Errorf("%q:\ngot  %v\nwant %s", bad, err, want)
		}
	}
}

func TestLoopbackAndWildcard(t *testing.T) {
	for _, tc := range []struct {
		address            string
		loopback, wildcard bool
	}{
		{"127.0.0.1:1", true, false},
		{"127.9.9.9:1", true, false},
		{"[::1]:1", true, false},
		{"[::ffff:127.0.0.1]:1", true, false},
		{"localhost:1", true, false},
		{"10.0.0.1:1", false, false},
		{"node:1", false, false},
		{"0.0.0.0:1", false, true},
		{"[::]:1", false, true},
		{":1", false, true},
		{"127.0.0.1", false, false},
		{"nonsense", false, false},
	} {
		if l, w := Loopback(tc.address), wildcard(tc.address); l != tc.loopback || w != tc.wildcard {
			t.Errorf("%s: loopback %v, wildcard %v", tc.address, l, w)
		}
	}
}
