// Package forward finds out for whom a proxy sends a request, and believes it of proxies
// that the operator trusts only.
//
// A proxy says what it has seen in X-Forwarded-For, -Proto and -Host, or in Forwarded
// (RFC 7239). Anybody can write these fields, so those of others are removed before a
// request goes on.
package forward

import (
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
)

// Trust is the networks of proxies that are believed. The zero value believes nobody. Copies share
// the networks. Safe for concurrent use.
type Trust struct {
	networks *atomic.Pointer[[]netip.Prefix]
}

// Parse reads networks in CIDR notation, or single addresses. The error names the entry.
func Parse(list []string) (Trust, error) {
	var networks []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, errAddr := netip.ParseAddr(s)
			if errAddr != nil {
				return Trust{}, fmt.Errorf("%q is no network: write it as 192.0.2.0/24, 2001:db8::/32, or as one address", s)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		networks = append(networks, p.Masked())
	}
	t := Trust{networks: new(atomic.Pointer[[]netip.Prefix])}
	t.networks.Store(&networks)
	return t, nil
}

// Become replaces the networks by those of another Trust, for all copies of t, which Parse made.
func (t Trust) Become(o Trust) {
	if t.networks != nil {
		t.networks.Store(o.networks.Load())
	}
}

// Has tells whether the address is one of a trusted proxy.
func (t Trust) Has(a netip.Addr) bool {
	if t.networks == nil {
		return false
	}
	a = a.Unmap().WithZone("")
	for _, p := range *t.networks.Load() {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// fields are what proxies write, each in the form that http.Header has it.
const (
	forwardedFor   = "X-Forwarded-For"
	forwardedProto = "X-Forwarded-Proto"
	forwardedHost  = "X-Forwarded-Host"
	forwarded      = "Forwarded"
)

// requestID names the request in the logs of all that it passes.
const requestID = "X-Request-Id"

// all are these, and fields with which some proxies say the same: from those nothing is
// read, and nobody's are passed on.
var all = []string{
	forwardedFor,
	forwardedProto,
	forwardedHost,
	forwarded,
	"X-Real-Ip",
	"X-Forwarded-Port",
	"X-Forwarded-Server",
	"X-Forwarded-Ssl",
	"X-Forwarded-Scheme",
	"X-Url-Scheme",
	"Front-End-Https",
	"True-Client-Ip",
}

// Of tells whether the request comes from a trusted proxy, before Apply has seen it.
func (t Trust) Of(r *http.Request) bool {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && t.Has(at.Addr())
}

// Apply makes a request what its user sent: r.RemoteAddr is the user's
// address (its port is 0 where a proxy tells it), r.Host the host that the user asked for, and
// r.TLS is not nil if the user's connection was secure. Where a proxy was believed,
// X-Forwarded-For and -Proto say the same; otherwise the request has no such fields.
// X-Request-Id stays if a trusted proxy has sent it.
func (t Trust) Apply(r *http.Request) {
	believed := false
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && t.Has(at.Addr()) {
		believed = t.believe(r, at.Addr())
	} else {
		delete(r.Header, requestID)
	}
	for _, name := range all {
		delete(r.Header, name)
	}
	if !believed {
		return
	}
	host, _, _ := net.SplitHostPort(r.RemoteAddr) // as it was parsed or made above
	r.Header[forwardedFor], r.Header[forwardedProto] = []string{host}, plain
	if r.TLS != nil {
		r.Header[forwardedProto] = secure
	}
}

// RequestID is what names the request, which Apply has seen, in logs. If no proxy has named it, or not in a way
// that a log can have, it gets a name, which goes on with it.
func RequestID(h http.Header) string {
	if list := h[requestID]; len(list) == 1 && validID(list[0]) {
		return list[0]
	}
	var b [16]byte // nobody is harmed if somebody guesses it
	binary.NativeEndian.PutUint64(b[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(b[8:], rand.Uint64())
	id := hex.EncodeToString(b[:])
	h[requestID] = []string{id}
	return id
}

// KeepID gives the request of a header the name that it has in another one.
func KeepID(to, from http.Header) { to[requestID] = from[requestID] }

// validID tells whether the text is a name of a request: most are hexadecimal, UUIDs or base64.
func validID(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._:+/=@~", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// Client is the user's address, of a request that Apply has seen, where a proxy has said it.
func Client(h http.Header) (a netip.Addr, ok bool) {
	if list := h[forwardedFor]; len(list) == 1 {
		a, err := netip.ParseAddr(list[0])
		return a, err == nil
	}
	return a, false
}

// Secure tells whether the user's connection was secure, of a request that Apply has seen, where
// a proxy has said that.
func Secure(h http.Header) (secure, ok bool) {
	list := h[forwardedProto]
	return len(list) == 1 && list[0] == "https", len(list) == 1
}

var plain, secure = []string{"http"}, []string{"https"}

// seen is what the proxies say of one step of the request's way.
type seen struct{ addr, proto, host string }

// believe takes over what the proxies say, from the nearest to the first that is not
// trusted.
func (t Trust) believe(r *http.Request, from netip.Addr) bool {
	steps := stepsOf(r.Header)
	if len(steps) == 0 {
		return false
	}
	client := from
	var last seen // of the step at which the user's own address was seen
	for _, step := range slices.Backward(steps) {
		a, ok := address(step.addr)
		if !ok {
			if step.addr == "" { // an address is not said, the rest may be
				last = merge(step, last)
			}
			break
		}
		client, last = a, merge(step, last)
		if !t.Has(a) {
			break
		}
	}
	if client != from {
		r.RemoteAddr = net.JoinHostPort(client.String(), "0")
	}
	if validHost(last.host) {
		r.Host = last.host
	}
	switch strings.ToLower(last.proto) {
	case "https", "wss":
		if r.TLS == nil {
			r.TLS = overTLS
		}
	case "http", "ws":
		r.TLS = nil
	}
	return true
}

// overTLS stands for a connection that a proxy has ended.
var overTLS = &tls.ConnectionState{HandshakeComplete: true}

// merge prefers what a step says itself to what the nearer ones do.
func merge(s, nearer seen) seen {
	if s.proto == "" {
		s.proto = nearer.proto
	}
	if s.host == "" {
		s.host = nearer.host
	}
	return s
}

// stepsOf are the steps of the way, the nearest last. Where there are fields of both kinds,
// X-Forwarded-* count: proxies that write these pass a user's Forwarded on, the other way
// is rare.
func stepsOf(h http.Header) []seen {
	fors, protos, hosts := items(h[forwardedFor]), items(h[forwardedProto]), items(h[forwardedHost])
	if len(fors)+len(protos)+len(hosts) == 0 {
		return rfc7239(h[forwarded])
	}
	steps := make([]seen, max(len(fors), 1))
	for i := range fors {
		steps[i].addr = fors[i]
	}
	// Most proxies replace these two, so one stands for the whole way; lists that are as long
	// as that of addresses go with it.
	put := func(list []string, at func(*seen) *string) {
		if len(list) == len(steps) {
			for i := range list {
				*at(&steps[i]) = list[i]
			}
		} else if len(list) > 0 {
			*at(&steps[len(steps)-1]) = list[len(list)-1]
		}
	}
	put(protos, func(s *seen) *string { return &s.proto })
	put(hosts, func(s *seen) *string { return &s.host })
	return steps
}

// items are the members of a list that may have several lines.
func items(lines []string) (list []string) {
	for _, line := range lines {
		for item := range strings.SplitSeq(line, ",") {
			list = append(list, strings.TrimSpace(item))
		}
	}
	return list
}

// rfc7239 reads the field Forwarded: elements by comma, their parts by semicolon, values
// that may be quoted (section 4).
func rfc7239(lines []string) (steps []seen) {
	for _, line := range lines {
		for _, element := range split(line, ',') {
			var s seen
			for _, part := range split(element, ';') {
				name, value, _ := strings.Cut(part, "=")
				value = unquote(strings.TrimSpace(value))
				switch strings.ToLower(strings.TrimSpace(name)) {
				case "for":
					s.addr = value
				case "proto":
					s.proto = value
				case "host":
					s.host = value
				}
			}
			steps = append(steps, s)
		}
	}
	return steps
}

// split cuts at the separator where it is not within quotes.
func split(s string, sep byte) (list []string) {
	quoted, from := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			list, from = append(list, s[from:i]), i+1
		}
	}
	return append(list, s[from:])
}

func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	var b strings.Builder
	for i := 1; i < len(s)-1; i++ {
		if s[i] == '\\' && i+1 < len(s)-1 {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// address reads an address with or without a port, IPv6 with or without brackets.
func address(s string) (netip.Addr, bool) {
	if at, err := netip.ParseAddrPort(s); err == nil {
		return at.Addr().Unmap().WithZone(""), true
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	return a.Unmap().WithZone(""), err == nil
}

// Hostname is the request's host without a port, IPv6 in brackets; empty: it is none.
func Hostname(host string) string {
	if !validHost(host) {
		return ""
	}
	name := (&url.URL{Host: host}).Hostname()
	if strings.Contains(name, ":") {
		return "[" + name + "]"
	}
	return name
}

// validHost tells whether the text can be a request's host: a name or an address,
// maybe with a port (RFC 9110 section 7.2).
func validHost(s string) bool {
	if s == "" || len(s) > 255+6 {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._:[]", c) >= 0:
		default:
			return false
		}
	}
	return true
}
