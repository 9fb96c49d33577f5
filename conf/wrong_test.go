package conf_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeserver/nodeserver/conf"
)

// wrong is what is to be said, all of it, about each file of testdata. FILE
// stands for the file's name.
var wrong = []struct {
	file string
	want []string
}{
	{"value", []string{
		`FILE:9:1: channel.hartbeat: unknown key (did you mean channel.heartbeat?)`,
		`FILE:12:15: channel.heartbeat: "soon" is not a duration (like 250ms)`,
	}},
	{"types", []string{
		`FILE:1:13: node.name: 1 is not text: put it in quotes`,
		`FILE:2:24: http.expose_node: "yes" is not true or false`,
		`FILE:2:42: http.tls_cert: false is not text: put it in quotes`,
		`FILE:2:68: http.max_header_bytes: "64 kilobytes" is not a size (like 65536 or "64KiB")`,
		`FILE:2:99: http.idle_timeout: 120 is not a duration (like 2m)`,
		`FILE:4:22: channel.change_log_entries: 1.5 is not a whole number`,
		`FILE:5:12: channel.insecure: 1 is not true or false`,
		`FILE:7:10: membership.static: "127.0.0.1:4001" is not a list of texts (like ["127.0.0.1:4001"])`,
		`FILE:8:13: membership.providers: ["mdns", 3] is not a list of texts (like ["mdns"])`,
		`FILE:10:13: sessions.freshness: true is none of on, off`,
		`FILE:11:21: sessions.max_session_bytes: 1e+06 is not a size (like 65536 or "64KiB")`,
		`FILE:13:9: log.level: a table is none of debug, info, warn, error`,
	}},
	{"syntax", []string{
		`FILE:5:16: not TOML: expected newline but got U+002E '.' (is a text, a duration or an address without "quotes"?)`,
	}},
	{"twice", []string{
		`FILE:3:1: not TOML: key name is already defined`,
	}},
	{
		"unknown",
		[]string{
			`FILE:1:1: addr: unknown key: keys stand under a section, like [http]`,
			`FILE:2:1: node.nmae: unknown key (did you mean node.name?)`,
			`FILE:3:1: "http.address": unknown key (did you mean http.address?)`,
			`FILE:5:2: chanel: unknown section (did you mean channel?)`,
			`FILE:9:1: http.heartbeat: unknown key (did you mean channel.heartbeat?)`,
			`FILE:10:1: http.colour: unknown key (known are access_log, address, cookie.domain, cookie.max_age, ` +
				`cookie.same_site, cookie.secure, drain_notice, expose_node, idle_timeout, ` +
				`max_body_bytes, max_connections, max_connections_per_address, max_header_bytes, proxy_protocol, read_header_timeout, ` +
				`shutdown_grace, stall_timeout, tls_cert, tls_key, trusted_proxies)`,
			`FILE:12:2: http.address: is a key, not a section: write address = … under [http]`,
			`FILE:14:2: http.tls: unknown key (known are access_log, address, cookie.domain, cookie.max_age, ` +
				`cookie.same_site, cookie.secure, drain_notice, expose_node, idle_timeout, ` +
				`max_body_bytes, max_connections, max_connections_per_address, max_header_bytes, proxy_protocol, read_header_timeout, ` +
				`shutdown_grace, stall_timeout, tls_cert, tls_key, trusted_proxies)`,
		},
	},
	{"brackets", []string{
		`FILE:1:1: http: is a section: write [http] and its keys below`,
		`FILE:3:3: membership: write [membership]: there is only one`,
		`FILE:6:2: app: write [[app]]: there may be several`,
	}},
	{"ranges", []string{
		`FILE:2:20: http.max_header_bytes: 100B is out of range (1KiB to 16MiB)`,
		`FILE:3:18: http.max_body_bytes: -1B is out of range (0 to 1024GiB)`,
		`FILE:4:18: http.shutdown_grace: 0s is out of range (1ms to 1h)`,
		`FILE:5:16: http.idle_timeout: -1s is out of range (10ms to 24h)`,
		`FILE:7:22: channel.change_log_entries: 0 is out of range (16 to 16777216)`,
		`FILE:9:16: sessions.max_sessions: -2 is out of range (-1 to 1073741824)`,
		`FILE:10:21: sessions.max_session_bytes: 9GiB is out of range (1KiB to 3MiB)`,
		`FILE:11:16: sessions.max_inactive: 30000h is out of range (1s to 8784h)`,
		`FILE:13:15: replication.batch_delay: 6ms is out of range (0s to 5ms)`,
		`FILE:14:15: replication.ack_timeout: 2h is out of range (1ms to 1m)`,
	}},
	{"choices", []string{
		`FILE:2:13: membership.providers: "gossip" is none of mdns, static, dns, file`,
		`FILE:4:8: replication.acks: "some" is none of async, one, majority, all`,
		`FILE:5:18: replication.on_ack_timeout: "retry" is none of proceed, fail`,
		`FILE:6:15: replication.join_policy: "hurry" is none of wait, serve`,
		`FILE:8:13: sessions.freshness: "maybe" is none of on, off`,
		`FILE:10:9: log.level: "loud" is none of debug, info, warn, error`,
		`FILE:11:10: log.format: "xml" is none of text, json`,
	}},
	{"addresses", []string{
		`FILE:2:11: http.address: "localhost" is not host:port (like 127.0.0.1:8081)`,
		`FILE:4:11: admin.address: ":99999": the port must be 0 to 65535`,
		`FILE:6:11: channel.address: "127.0.0.1:http": the port must be 0 to 65535`,
		`FILE:7:13: channel.advertise: "0.0.0.0:4001" names no host that can be dialled (like 127.0.0.1:4001)`,
		`FILE:10:10: membership.static: "127.0.0.1:0": the port must be 1 to 65535`,
		`FILE:12:11: balance.address: "::1:8080" is not host:port (like 127.0.0.1:8080)`,
	}},
	{"taken", []string{
		`FILE:4:11: admin.address: "127.0.0.1:7000" is the same address as channel.address`,
	}},
	{"names", []string{
		`FILE:2:8: node.name: "node.one" is not a node's name: use 1 to 32 of A-Z a-z 0-9 _ -`,
		`FILE:4:8: cluster.name: "" won't do: use 1 to 30 of A-Z a-z 0-9 _ -`,
		`FILE:5:10: cluster.domain: "east wing" won't do: use 1 to 30 of A-Z a-z 0-9 _ -`,
		`FILE:7:15: sessions.cookie_name: "my session" is not a cookie's name: use 1 to 64 letters, digits or - _ . (no spaces, = or ;)`,
	}},
	{"detector", []string{
		`FILE:2:13: channel.heartbeat: 2s must be less than channel.suspect_after (1s)`,
		`FILE:3:14: channel.down_after: 500ms must be more than channel.suspect_after (1s)`,
	}},
	{
		"open",
		[]string{
			`FILE:4:11: channel.address: "10.0.0.5:4001" is open to others, but nothing proves who they are: make a ` +
				`secret with "nodeserver secret new FILE", the same file on each node, and name it in ` +
				`cluster.secret_file (or set tls_ca, tls_cert and tls_key; or insecure = true where you trust the network)`,
			`FILE:6:11: admin.address: "10.0.0.5:9081" is open to others: make a token with "nodeserver token new ` +
				`NAME --role operator --file FILE" and name the file in admin.tokens_file`,
			`FILE:9:13: membership.interface: "eth0" leads to other machines, but nothing proves who they are: make a ` +
				`secret with "nodeserver secret new FILE", the same file on each node, and name it in ` +
				`cluster.secret_file (or set tls_ca, tls_cert and tls_key; or insecure = true where you trust the network)`,
			`FILE:10:10: membership.static: "10.0.0.6:4001" is another machine, but nothing proves who answers there: ` +
				`make a secret with "nodeserver secret new FILE", the same file on each node, and name it in ` +
				`cluster.secret_file (or set tls_ca, tls_cert and tls_key; or insecure = true where you trust the network)`,
		},
	},
	{"everywhere", []string{
		`FILE:2:11: channel.address: ":4001" listens everywhere: say in channel.advertise which host:port other members dial`,
	}},
	{"tls", []string{
		`FILE:2:12: http.tls_cert: needs http.tls_key beside it`,
		`FILE:4:11: channel.tls_key: tls_ca, tls_cert and tls_key belong together: set all three or none`,
		`FILE:5:12: channel.insecure: true contradicts the secret or certificates that are set: remove one of them`,
	}},
	{"redirectport", []string{
		`FILE:2:17: balance.redirect_port: is where balance.redirect_address sends users, which is not set`,
	}},
	{"redirect", []string{
		`FILE:2:20: balance.redirect_address: sends users to HTTPS, which needs http.tls_cert and http.tls_key`,
	}},
	{
		"pki",
		[]string{
			`FILE:6:15: channel.tls_allowed: "*.nodes.example.com" must have {name} once, where the node's name ` +
				`stands in the certificate (like "{name}.nodes.example.com")`,
		},
	},
	{
		"pkiopen",
		[]string{
			`FILE: channel.tls_allowed: missing: without it every certificate of the CA would make a member; give a ` +
				`pattern of the names in the nodes' certificates, like ["{name}.nodes.example.com"]`,
		},
	},
	{"allowed", []string{
		`FILE:2:15: channel.tls_allowed: is for certificates of your own: set tls_ca, tls_cert and tls_key, too, or remove it`,
	}},
	{"later", []string{
		`FILE:3:1: replication.replicas: has no effect in this version: remove it (every member holds every session)`,
	}},
	{"cookieof", []string{
		`FILE:1:2: app: write [[app]]: there may be several`,
		`FILE:3:3: http.cookie: write [http.cookie]: there is only one`,
	}},
	{"cookie", []string{
		`FILE:3:1: http.cookie: is a section: write [http.cookie] and its keys below`,
	}},
	{
		"cookies",
		[]string{
			`FILE:2:13: http.cookie.same_site: "none" needs secure = "always" beside it: browsers drop such a cookie where it is ` +
				`not Secure`,
			`FILE:3:10: http.cookie.domain: "127.0.0.1" is an address: browsers take names only; leave it out, then the cookie is ` +
				`for the host that gave it`,
			`FILE:4:11: http.cookie.max_age: 25h is longer than sessions.absolute_lifetime (24h): the cookie would outlive its session`,
			`FILE:5:1: http.cookie.samesite: unknown key (did you mean http.cookie.same_site?)`,
			`FILE:7:15: sessions.cookie_name: "__Host-SID": leave __Host- out: the node puts it before the name where browsers ` +
				`accept it, over TLS for the app at /`,
			`FILE:11:24: app.cookie.same_site: "some" is none of lax, strict, none`,
			`FILE:11:41: app.cookie.domain: "localhost" is not a domain with a dot in it, like "example.com", that browsers would ` +
				`take; leave it out, then the cookie is for the host that gave it`,
			`FILE:15:17: app.cookie.secure: "none" needs secure = "always" beside it: browsers drop such a cookie where it is not Secure`,
			`FILE:16:18: app.cookie.max_age: 10ms is less than a second, the least that cookies know; "0s": until the browser ends`,
			`FILE:17:1: app.cookie.path: unknown key (known are acks, config, cookie.domain, cookie.max_age, cookie.same_site, ` +
				`cookie.secure, max_inactive, name, path)`,
		},
	},
	{"providers", []string{
		`FILE:2:13: membership.providers: "static" needs membership.static, which is empty`,
	}},
	{
		"apps",
		[]string{
			`FILE:3:8: app.path: "shop" is not a path like "/shop/": it starts and ends with a slash`,
			`FILE:4:1: app.colour: unknown key (known are acks, config, cookie.domain, cookie.max_age, cookie.same_site, ` +
				`cookie.secure, max_inactive, name, path)`,
			`FILE:6:3: app.name: missing: say which webapp the settings are for`,
			`FILE:8:16: app.max_inactive: "long" is not a duration (like 30m)`,
			`FILE:11:8: app.name: "Cart!" is not a webapp's name: use 1 to 64 of a-z 0-9 -`,
			`FILE:12:8: app.path: "/x/" is taken by the [[app]] in line 6`,
			`FILE:13:8: app.acks: "some" is none of async, one, majority, all`,
			`FILE:16:8: app.name: "cart" has an [[app]] in line 2 already`,
			`FILE:17:16: app.max_inactive: 0s is out of range (1s to 8784h)`,
			`FILE:18:10: app.config: can't be handed to the webapp as JSON: json: unsupported value: +Inf`,
			`FILE:22:10: app.config: 3 is not a table (like {key = 1})`,
		},
	},
}

func TestWrongFiles(t *testing.T) {
	var tested []string
	for _, c := range wrong {
		t.Run(c.file, func(t *testing.T) {
			file := filepath.Join("testdata", c.file+".toml")
			_, _, err := conf.Load(file, nil, nil)
			if diff := cmp.Diff(c.want, problems(t, err, file)); diff != "" {
				t.Errorf("problems differ (-want +got):\n%s", diff)
			}
		})
		tested = append(tested, filepath.Join("testdata", c.file+".toml"))
	}
	there, err := filepath.Glob("testdata/*.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range there {
		if file != "testdata/good.toml" && !slices.Contains(tested, file) {
			t.Errorf("%s is not tested", file)
		}
	}
}

// problems are the lines of an *Error.
func problems(t *testing.T, err error, file string) []string {
	t.Helper()
	var e *conf.Error
	if !errors.As(err, &e) {
		t.Fatalf("got error %v, want an *Error", err)
	}
	return strings.Split(strings.ReplaceAll(e.Error(), file, "FILE"), "\n")
}
