package grpctransport

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nodeserver/nodeserver/membership"
)

// nameMark is where the name of a node stands in a pattern.
const nameMark = "{name}"

// Allowed says which certificates of the operator's own CA belong to members, and which names they
// prove.
type Allowed struct {
	patterns []pattern
}

// pattern is one of Allowed, in parts: the labels of a DNS name, or the segments between the
// slashes of a URI.
type pattern struct {
	text  string
	uri   bool
	parts []string
}

// ParseAllowed reads patterns for subject alternative names (RFC 5280, section 4.2.1.6): DNS names,
// like "{name}.nodes.example.com", and URIs, like "spiffe://example.com/node/{name}". Each has
// {name} once: the part of the certificate's name in that place is the name of the node. A part
// that is "*" stands for any one part. All other parts must be equal; in DNS names, capitals don't
// count outside {name}.
func ParseAllowed(texts []string) (Allowed, error) {
	var a Allowed
	for _, text := range texts {
		p := split(text)
		switch {
		case strings.Count(text, nameMark) != 1:
			example := "{name}.nodes.example.com"
			if rest, ok := strings.CutPrefix(text, "*."); ok && rest != "" && !strings.Contains(rest, nameMark) {
				example = nameMark + "." + rest
			}
			return a, fmt.Errorf("%q must have {name} once, where the node's name stands in the certificate (like %q)", text, example)
		case slices.Contains(p.parts, ""), !p.uri && len(p.parts) < 2, p.uri && strings.ContainsAny(p.parts[0], "*{"):
			return a, fmt.Errorf("%q is neither a DNS name of two labels or more nor a URI "+
				`(like "{name}.nodes.example.com" or "spiffe://example.com/node/{name}")`, text)
		case slices.ContainsFunc(p.parts, func(part string) bool { return part != "*" && strings.Contains(part, "*") }):
			return a, fmt.Errorf("%q: a \"*\" stands for a whole label or path segment, never for a part of one", text)
		}
		a.patterns = append(a.patterns, p)
	}
	if len(a.patterns) == 0 {
		return a, errors.New("missing: without it every certificate of the CA would make a member; " +
			`give a pattern of the names in the nodes' certificates, like ["{name}.nodes.example.com"]`)
	}
	return a, nil
}

func split(text string) pattern {
	if scheme, rest, uri := strings.Cut(text, "://"); uri {
		return pattern{text: text, uri: true, parts: append([]string{scheme}, strings.Split(rest, "/")...)}
	}
	return pattern{text: text, parts: strings.Split(text, ".")}
}

// Names are the nodes' names that the certificate proves; a certificate without any belongs to no
// member. Its common name, IP and mail addresses don't count.
func (a Allowed) Names(c *x509.Certificate) []string {
	var names []string
	for _, san := range sans(c) {
		for _, p := range a.patterns {
			if name, ok := p.match(split(san)); ok && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// String lists the patterns.
func (a Allowed) String() string {
	texts := make([]string, len(a.patterns))
	for i, p := range a.patterns {
		texts[i] = p.text
	}
	return strings.Join(texts, ", ")
}

// sans are the names of a certificate that patterns are for.
func sans(c *x509.Certificate) []string {
	var list []string
	for _, u := range c.URIs {
		list = append(list, u.String())
	}
	for _, d := range c.DNSNames {
		if !strings.Contains(d, "://") { // it would pass for a URI
			list = append(list, strings.TrimSuffix(d, "."))
		}
	}
	return list
}

// match tells whether a name fits, and returns its part in the place of {name}.
func (p pattern) match(san pattern) (name string, ok bool) {
	if p.uri != san.uri || len(p.parts) != len(san.parts) {
		return "", false
	}
	for i, part := range p.parts {
		given := san.parts[i]
		before, after, here := strings.Cut(part, nameMark)
		switch {
		case here:
			if len(given) < len(before)+len(after) || !p.same(given[:len(before)], before) ||
				!p.same(given[len(given)-len(after):], after) {
				return "", false
			}
			name = given[len(before) : len(given)-len(after)]
		case part == "*":
			if given == "" || given == "*" {
				return "", false
			}
		case !p.same(given, part):
			return "", false
		}
	}
	return name, membership.CheckName(name) == nil
}

func (p pattern) same(a, b string) bool {
	return a == b || !p.uri && strings.EqualFold(a, b)
}
