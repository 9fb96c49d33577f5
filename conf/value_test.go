package conf

import (
	"testing"
	"time"
)

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		24 * time.Hour: "24h", 90 * time.Minute: "1h30m", time.Minute: "1m", 0: "0s", 10 * time.Second: "10s",
		250 * time.Millisecond: "250ms", time.Hour + time.Second: "1h0m1s", 100 * time.Minute: "1h40m", -time.Minute: "-1m",
	} {
		if got := short(d); got != want {
			t.Errorf("short(%s) = %s, want %s", d, got, want)
		}
		if back, err := time.ParseDuration(short(d)); err != nil || back != d {
			t.Errorf("short(%s) reads back as %s, %v", d, back, err)
		}
	}
}

func TestSizes(t *testing.T) {
	for _, c := range []struct {
		in   any
		want int
		ok   bool
	}{
		{int64(7), 7, true},
		{"7B", 7, true},
		{"64KiB", 64 << 10, true},
		{"3 MiB", 3 << 20, true},
		{"2GiB", 2 << 30, true},
		{"64", 0, false},
		{"64KB", 0, false},
		{"KiB", 0, false},
		{"99999999999GiB", 0, false},
		{"1.5MiB", 0, false},
		{true, 0, false},
		{1.5, 0, false},
	} {
		got, err := toSize(c.in)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("toSize(%v) = %d, %v", c.in, got, err)
		}
		if err != nil {
			continue
		}
		if back, err := convertText(size, showSize(got), ""); err != nil || back != got {
			t.Errorf("showSize(%d) reads back as %v, %v", got, back, err)
		}
	}
}

func TestNearest(t *testing.T) {
	s := newSchema()
	for _, c := range []struct{ in, want string }{
		{"channel.hartbeat", "channel.heartbeat"},
		{"channel.Heartbeat", "channel.heartbeat"},
		{"chanel.heartbeet", "channel.heartbeat"},
		{"sessions.heartbeat", "channel.heartbeat"},
		{"http.port", ""},
		{"http.colour", ""},
		{"log.levl", "log.level"},
		{"x", ""},
		{"", ""},
	} {
		if got := s.nearest(c.in); got != c.want {
			t.Errorf("nearest(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestNameOfMachine(t *testing.T) {
	for host, want := range map[string]string{
		"web1": "web1", "web1.example.org": "web1", "my box": "my-box", "": "",
		"nodeserver-shop-frontend-7d9f8b6c5-x2x4k": "er-shop-frontend-7d9f8b6c5-x2x4k",
	} {
		if got := nameOf(host); got != want || want != "" && !nodeName.MatchString(got) {
			t.Errorf("nameOf(%q) = %q, want %q", host, got, want)
		}
	}
}
