package conf

import (
	"net"
	"slices"
	"strconv"

	"github.com/nodeserver/nodeserver/server/cluster"
	"github.com/nodeserver/nodeserver/server/config"
)

// checkAddresses looks at what a node listens on and what others dial.
func (l *loader) checkAddresses(cfg config.Config) {
	taken := map[string]string{}
	for _, key := range []string{"http.address", "admin.address", "channel.address", "balance.address"} {
		address := l.value(key).(string)
		if text := badAddress(address, l.like[key], 0); text != "" {
			l.wrong(key, text)
			continue
		}
		other, twice := taken[address]
		switch {
		case key == "balance.address" || port(address) == 0: // the balancer is another process
		case twice:
			l.wrong(l.latest(other, key), show(address)+" is the same address as "+l.other(other, key))
		default:
			taken[address] = key
		}
	}
	if a := cfg.Balance.RedirectAddress; a != "" {
		if text := badAddress(a, l.like["balance.address"], 0); text != "" {
			l.wrong("balance.redirect_address", text)
		}
	}
	if a := cfg.Channel.Advertise; a != "" {
		if text := badTarget(a, l.like["channel.address"]); text != "" {
			l.wrong("channel.advertise", text)
		}
	} else if host, _, err := net.SplitHostPort(cfg.Channel.Address); err == nil && cluster.Unspecified(host) {
		l.wrong(
			"channel.address",
			show(cfg.Channel.Address)+" listens everywhere: say in channel.advertise which host:port other members dial",
		)
	}
	for _, a := range cfg.Membership.Static {
		if text := badTarget(a, l.like["channel.address"]); text != "" {
			l.wrong("membership.static", text)
		}
	}
	l.checkReach(cfg)
}

// other is the one of the keys that latest leaves.
func (l *loader) other(a, b string) string {
	if l.latest(a, b) == a {
		return b
	}
	return a
}

// checkReach: a node that listens on loopback only can't be part of a cluster
// with members elsewhere.
func (l *loader) checkReach(cfg config.Config) {
	far := slices.ContainsFunc(cfg.Membership.Static, func(a string) bool { return !cluster.Loopback(a) })
	if far && cluster.Loopback(cfg.Channel.Address) && l.good("channel.address", "membership.static") {
		l.warn("channel.address", show(cfg.Channel.Address)+" can't be dialled from other machines, though membership.static has some")
	}
}

// checkPair: a certificate needs its key.
func (l *loader) checkPair(section, cert, key string) {
	has, lacks := section+".tls_cert", section+".tls_key"
	switch {
	case cert != "" && key == "":
		l.wrong(has, "needs "+lacks+" beside it")
	case cert == "" && key != "":
		l.wrong(lacks, "needs "+has+" beside it")
	}
}

// checkTLS: a node that others can reach must prove its identity.
func (l *loader) checkTLS(cfg config.Config) {
	h, c := cfg.HTTP, cfg.Channel
	l.checkPair("http", h.TLSCert, h.TLSKey)
	l.checkPair("admin", cfg.Admin.TLSCert, cfg.Admin.TLSKey)
	if cfg.Balance.RedirectAddress != "" && h.TLSCert == "" {
		l.wrong("balance.redirect_address", "sends users to HTTPS, which needs http.tls_cert and http.tls_key")
	}
	if cfg.Balance.RedirectPort != 0 && cfg.Balance.RedirectAddress == "" {
		l.wrong("balance.redirect_port", "is where balance.redirect_address sends users, which is not set")
	}
	own := c.TLSCA != "" && c.TLSCert != "" && c.TLSKey != ""
	if !own {
		for key, file := range map[string]string{"channel.tls_ca": c.TLSCA, "channel.tls_cert": c.TLSCert, "channel.tls_key": c.TLSKey} {
			if file != "" {
				l.wrong(key, "tls_ca, tls_cert and tls_key belong together: set all three or none")
			}
		}
	}
	switch text := cluster.NotAllowed(cfg); {
	case own && text != "":
		l.wrong("channel.tls_allowed", text)
	case !own && len(c.TLSAllowed) > 0:
		l.wrong("channel.tls_allowed", "is for certificates of your own: set tls_ca, tls_cert and tls_key, too, or remove it")
	}
	for _, p := range cluster.Unproven(cfg) {
		if l.good(p.Key) {
			l.wrong(p.Key, p.Text)
		}
	}
	if text := cluster.Unused(cfg); text != "" && l.good("http.address") {
		l.warn("http.address", text)
	}
	if c.Insecure && (own || cfg.Cluster.SecretFile != "") {
		l.wrong("channel.insecure", "true contradicts the secret or certificates that are set: remove one of them")
	}
	if l.good("admin.address") && !cluster.Loopback(cfg.Admin.Address) && cfg.Admin.TokenFile == "" && cfg.Admin.TokensFile == "" {
		l.wrong(
			"admin.address",
			show(cfg.Admin.Address)+` is open to others: make a token with "nodeserver token new NAME --role operator --file FILE" `+
				`and name the file in admin.tokens_file`,
		)
	}
}

// badAddress says what is wrong with host:port; the host may be empty.
func badAddress(a, like string, leastPort int) string {
	_, p, err := net.SplitHostPort(a)
	if err != nil {
		return show(a) + " is not host:port (like " + like + ")"
	}
	if n, err := strconv.Atoi(p); err != nil || n < leastPort || n > 65535 {
		return show(a) + ": the port must be " + itoa(leastPort) + " to 65535"
	}
	return ""
}

// badTarget is badAddress for what is dialled: a certain host, a certain port.
func badTarget(a, like string) string {
	if text := badAddress(a, like, 1); text != "" {
		return text
	}
	if host, _, _ := net.SplitHostPort(a); cluster.Unspecified(host) {
		return show(a) + " names no host that can be dialled (like " + like + ")"
	}
	return ""
}

func port(a string) int {
	_, p, _ := net.SplitHostPort(a)
	n, _ := strconv.Atoi(p)
	return n
}
