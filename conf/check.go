package conf

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/forward"
)

type between[T any] struct{ least, most T }

// durations are the sane ranges: shorter ones burn CPU or break on any hiccup,
// longer ones are slips of the unit.
var durations = map[string]between[time.Duration]{
	"http.read_header_timeout":    {10 * time.Millisecond, 5 * time.Minute},
	"http.idle_timeout":           {10 * time.Millisecond, 24 * time.Hour},
	"http.cookie.max_age":         {0, 366 * 24 * time.Hour},
	"http.drain_notice":           {0, 5 * time.Minute},
	"http.shutdown_grace":         {time.Millisecond, time.Hour},
	"channel.heartbeat":           {10 * time.Millisecond, time.Minute},
	"channel.suspect_after":       {20 * time.Millisecond, 10 * time.Minute},
	"channel.down_after":          {30 * time.Millisecond, time.Hour},
	"membership.mdns_interval":    {100 * time.Millisecond, time.Hour},
	"http.stall_timeout":          {0, time.Hour},
	"sessions.max_inactive":       {time.Second, 366 * 24 * time.Hour},
	"sessions.first_inactive":     {0, 366 * 24 * time.Hour},
	"sessions.absolute_lifetime":  {time.Second, 366 * 24 * time.Hour},
	"sessions.freshness_wait":     {time.Millisecond, 10 * time.Second},
	"replication.ack_timeout":     {time.Millisecond, time.Minute},
	"replication.batch_delay":     {0, 5 * time.Millisecond},
	"replication.repair_interval": {100 * time.Millisecond, time.Hour},
	"webapps.drain":               {0, time.Hour},
	"replication.join_timeout":    {100 * time.Millisecond, time.Hour},
	"balance.health_interval":     {10 * time.Millisecond, time.Minute},
	"balance.queue_time":          {0, time.Minute},
	"balance.slow_start":          {0, time.Hour},
}

// numbers are ranges of counts and sizes. A session must fit into one message
// of 4 MiB with room to spare.
var numbers = map[string]between[int]{
	"http.max_header_bytes":            {1 << 10, 16 << 20},
	"http.max_body_bytes":              {0, 1 << 40},
	"http.max_connections":             {0, 1 << 30},
	"http.max_connections_per_address": {0, 1 << 30},
	"balance.max_requests_per_node":    {0, 1 << 30},
	"balance.redirect_port":            {0, 65535},
	"channel.change_log_entries":       {16, 1 << 24},
	"membership.expect":                {0, 64},
	"sessions.max_sessions":            {-1, 1 << 30},
	"sessions.new_per_address":         {0, 1 << 20},
	"webapps.max_revisions":            {0, 1 << 20},
	"sessions.max_session_bytes":       {1 << 10, 3 << 20},
}

// check looks at what the values mean, one by one and together.
func (l *loader) check(cfg config.Config) {
	for _, key := range l.keys {
		l.checkValue(key)
	}
	l.checkNames(cfg)
	l.checkAddresses(cfg)
	l.checkDetector(cfg)
	l.checkTLS(cfg)
	if _, err := forward.Parse(cfg.HTTP.TrustedProxies); err != nil {
		l.wrong("http.trusted_proxies", err.Error())
	}
	l.checkMembership(cfg)
	l.checkSessions(cfg)
	l.checkCookies(cfg)
	l.checkApps(cfg)
}

// wrong notes a problem with a key's value, unless there is one already.
func (l *loader) wrong(key, text string) {
	if !l.bad[key] {
		l.problem(key, text, l.at(key))
	}
}

// warn notes that a key's value looks wrong.
func (l *loader) warn(key, text string) {
	l.warnings = append(l.warnings, l.at(key).problem(key, text))
}

// at is where the key's value comes from; a default's place is the file that
// does without the key.
func (l *loader) at(key string) origin {
	at := l.origins[key]
	if at.layer == fromDefault && l.file != "" {
		at = origin{layer: fromFile, name: l.file}
	}
	return at
}

// good tells whether none of the keys has a problem.
func (l *loader) good(keys ...string) bool {
	return !slices.ContainsFunc(keys, func(k string) bool { return l.bad[k] })
}

// latest is the key whose value comes from the highest layer: the one to
// complain of when two don't go together.
func (l *loader) latest(a, b string) string {
	if l.origins[b].layer > l.origins[a].layer {
		return b
	}
	return a
}

// checkValue looks at one value by itself.
func (l *loader) checkValue(key string) {
	switch v := l.value(key).(type) {
	case time.Duration:
		if text := outOfRange(v, durations[key]); text != "" {
			l.wrong(key, text)
		}
	case int:
		if r, ok := numbers[key]; ok && (v < r.least || v > r.most) {
			l.wrong(key, fmt.Sprintf("%s is out of range (%s to %s)", l.number(key, v), l.number(key, r.least), l.number(key, r.most)))
		}
	case string:
		if err := l.schema.read(key, v); err != nil {
			l.wrong(key, err.Error())
		}
	case []string:
		for _, word := range v {
			if err := l.schema.read(key, word); err != nil {
				l.wrong(key, err.Error())
			}
		}
	}
}

// number writes sizes with a unit.
func (l *loader) number(key string, n int) string {
	if l.schema.kinds[key] == size {
		return showSize(n)
	}
	return itoa(n)
}

func outOfRange(d time.Duration, r between[time.Duration]) string {
	if d >= r.least && d <= r.most {
		return ""
	}
	return fmt.Sprintf("%s is out of range (%s to %s)", short(d), short(r.least), short(r.most))
}

var (
	nodeName    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`) // ends session ids after a dot
	clusterName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,30}$`) // with a node's name it must fit into one DNS label
	cookieName  = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")
)

func (l *loader) checkNames(cfg config.Config) {
	if cfg.Node.Name == "" {
		l.wrong("node.name", "missing: each node of a cluster needs a name of its own")
	} else if !nodeName.MatchString(cfg.Node.Name) {
		l.wrong("node.name", show(cfg.Node.Name)+" is not a node's name: use 1 to 32 of A-Z a-z 0-9 _ -")
	}
	for key, name := range map[string]string{"cluster.name": cfg.Cluster.Name, "cluster.domain": cfg.Cluster.Domain} {
		if !clusterName.MatchString(name) && (name != "" || key == "cluster.name") {
			l.wrong(key, show(name)+" won't do: use 1 to 30 of A-Z a-z 0-9 _ -")
		}
	}
	if !cookieName.MatchString(cfg.Sessions.CookieName) {
		l.wrong(
			"sessions.cookie_name",
			show(cfg.Sessions.CookieName)+" is not a cookie's name: use 1 to 64 letters, digits or - _ . (no spaces, = or ;)",
		)
	}
}

// checkDetector: a heartbeat must have come several times before its absence
// means anything.
func (l *loader) checkDetector(cfg config.Config) {
	order := func(a string, av time.Duration, b string, bv time.Duration) {
		if av < bv || !l.good(a, b) {
			return
		}
		if l.latest(a, b) == a {
			l.wrong(a, fmt.Sprintf("%s must be less than %s (%s)", short(av), b, short(bv)))
		} else {
			l.wrong(b, fmt.Sprintf("%s must be more than %s (%s)", short(bv), a, short(av)))
		}
	}
	c := cfg.Channel
	order("channel.heartbeat", c.Heartbeat, "channel.suspect_after", c.SuspectAfter)
	order("channel.suspect_after", c.SuspectAfter, "channel.down_after", c.DownAfter)
	if l.good("channel.heartbeat", "channel.suspect_after") && c.SuspectAfter < 2*c.Heartbeat {
		l.warn("channel.suspect_after", short(c.SuspectAfter)+" is less than two heartbeats: one late packet makes a member suspect")
	}
}

func (l *loader) checkMembership(cfg config.Config) {
	m := cfg.Membership
	for _, p := range []struct {
		provider config.Provider
		key      string
		empty    bool
	}{
		{config.ProviderStatic, "membership.static", len(m.Static) == 0},
		{config.ProviderDNS, "membership.dns_name", m.DNSName == ""},
		{config.ProviderFile, "membership.file", m.File == ""},
	} {
		used := slices.Contains(m.Providers, p.provider)
		if used && p.empty && l.good(p.key) {
			l.wrong("membership.providers", fmt.Sprintf("%q needs %s, which is empty", p.provider, p.key))
		}
		if !used && !p.empty {
			l.warn(p.key, fmt.Sprintf("has no effect without %q in membership.providers", p.provider))
		}
	}
	if len(m.Providers) == 0 {
		l.warn("membership.providers", "empty: this node finds no others, it can only be found")
	}
}

func (l *loader) checkSessions(cfg config.Config) {
	s := cfg.Sessions
	if s.MaxInactive > s.AbsoluteLifetime {
		l.warn(
			l.latest("sessions.max_inactive", "sessions.absolute_lifetime"),
			fmt.Sprintf(
				"max_inactive %s never comes: sessions end after absolute_lifetime %s",
				short(s.MaxInactive),
				short(s.AbsoluteLifetime),
			),
		)
	}
}
