package grpctransport_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/channel/grpctransport"
	"github.com/nodeserver/nodeserver/membership"
)

// pki is a folder with the files of a CA, and how a node uses them.
type pki struct {
	*testing.T
	dir string
}

func newPKI(t *testing.T, leaves map[string][]string) pki {
	t.Helper()
	p := pki{t, t.TempDir()}
	ca, key := makeCert(t, p.dir, "ca", nil, nil)
	for name, sans := range leaves {
		makeCert(t, p.dir, name, ca, key, sans...)
	}
	return p
}

func (p pki) files(cert, node string, allowed ...string) grpctransport.PKI {
	p.Helper()
	a, err := grpctransport.ParseAllowed(allowed)
	if err != nil {
		p.Fatal(err)
	}
	return grpctransport.PKI{
		CA: filepath.Join(p.dir, "ca.pem"), Cert: filepath.Join(p.dir, cert+".pem"), Key: filepath.Join(p.dir, cert+".key"),
		Allowed: a, Name: node, Read: os.ReadFile, ReadPrivate: os.ReadFile,
	}
}

func (p pki) credentials(cert, node string, allowed ...string) grpctransport.Security {
	p.Helper()
	s, err := grpctransport.PKICredentials(p.files(cert, node, allowed...))
	if err != nil {
		p.Fatal(err)
	}
	return s
}

const ours = "{name}.nodes.example.com"

func TestPKI(t *testing.T) {
	t.Parallel()
	p := newPKI(t, map[string][]string{"a": {"a.nodes.example.com"}, "b": {"b.nodes.example.com", "www.example.com"}})
	a := start(t, "a", p.credentials("a", "a", ours))
	b := start(t, "b", p.credentials("b", "b", ours), a.addr)
	waitFor(t, "linked", linked(a, b))
}

const detail = `(its certificate is for \"wiki.corp\")`

// A certificate of the same CA that was made for something else makes no member, and both sides say
// what is wrong.
func TestPKIOtherCertificateDials(t *testing.T) {
	t.Parallel()
	p := newPKI(t, map[string][]string{"a": {"a.nodes.example.com"}, "wiki": {"wiki.corp"}})
	a := start(t, "a", p.credentials("a", "a", ours))
	wiki := start(t, "wiki", p.credentials("wiki", "wiki", "{name}.corp", ours), a.addr) // it would take a
	waitFor(t, "the one that is dialled says whose it is", says(a, detail))
	waitFor(t, "the stranger says that it is refused", says(wiki, "the certificate of one side is not a member's"))
	if len(a.box.links()) != 0 {
		t.Error("linked to a stranger")
	}
}

func TestPKIOtherCertificateIsDialled(t *testing.T) {
	t.Parallel()
	p := newPKI(t, map[string][]string{"a": {"a.nodes.example.com"}, "wiki": {"wiki.corp"}})
	b := start(t, "a", p.credentials("a", "a", ours), start(t, "wiki", p.credentials("wiki", "wiki", "{name}.corp", ours)).addr)
	waitFor(t, "the one that dials says whose it is", says(b, detail))
	wantStray(t, b, channel.ErrSecret)
	if len(b.box.links()) != 0 {
		t.Error("linked to a stranger")
	}
}

// Who only asks, as the balancer does, must be a member's equal, too; and asks members only.
func TestPKIWatch(t *testing.T) {
	t.Parallel()
	p := newPKI(t, map[string][]string{"a": {"a.nodes.example.com"}, "wiki": {"wiki.corp"}, "door": {"door.nodes.example.com"}})
	a := start(t, "a", p.credentials("a", "a", ours))
	stray := start(t, "wiki", p.credentials("wiki", "wiki", "{name}.corp", ours))
	for _, c := range []struct {
		name, cert, addr string
		allowed          []string
		want             error
	}{
		{"a door", "door", a.addr, []string{ours}, context.Canceled},
		{"any certificate", "wiki", a.addr, []string{"{name}.corp", ours}, channel.ErrCertificate},
		{"a door, at any certificate", "door", stray.addr, []string{ours}, channel.ErrCertificate},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		tr := grpctransport.New(p.credentials(c.cert, "", c.allowed...), nil, nil)
		err := tr.Watch(ctx, c.addr, "c", func([]membership.Status) { cancel() })
		canceled := errors.Is(ctx.Err(), context.Canceled)
		if canceled != errors.Is(c.want, context.Canceled) || !canceled && !errors.Is(err, c.want) {
			t.Errorf("%s: canceled %v, %v", c.name, canceled, err)
		}
		cancel()
	}
}

// A node can't take another's name: neither as the one that dials nor as the one that is dialled.
func TestPKINameOfAnother(t *testing.T) {
	t.Parallel()
	p := newPKI(t, map[string][]string{"a": {"a.nodes.example.com"}, "c": {"c.nodes.example.com"}})
	liar := p.credentials("c", "", ours) // its program doesn't look
	a := start(t, "a", p.credentials("a", "a", ours))
	dials := start(t, "b", liar, a.addr)
	waitFor(t, "the one that is dialled says so", says(a, `hello of \"b\" with a certificate of \"c\"`))
	dialled := start(t, "b", liar)
	other := start(t, "a", p.credentials("a", "a", ours), dialled.addr)
	waitFor(t, "the one that dials says so", says(other, `welcome of \"b\" with a certificate of \"c\"`))
	for _, n := range []*node{a, dials, dialled, other} {
		if len(n.box.links()) != 0 {
			t.Error("linked")
		}
	}
}

func TestPKIRefusesOwnFiles(t *testing.T) {
	t.Parallel()
	p := newPKI(t, map[string][]string{"a": {"a.nodes.example.com"}, "bare": nil})
	noCA := p.files("a", "a", ours)
	noCA.CA = filepath.Join(p.dir, "a.key")
	guarded := p.files("a", "a", ours)
	guarded.ReadPrivate = func(string) ([]byte, error) { return nil, os.ErrPermission }
	for _, c := range []struct {
		files grpctransport.PKI
		want  string
	}{
		{p.files("a", "b", ours), `channel.tls_cert: DIR/a.pem is the certificate of a, but the node is "b": ` +
			"set node.name, or give it a certificate of its own"},
		{p.files("a", "a", "{name}.corp"), `channel.tls_cert: DIR/a.pem is for "a.nodes.example.com", ` +
			"of which channel.tls_allowed ({name}.corp) allows none: put the pattern of your nodes' certificates there"},
		{p.files("bare", "a", ours), "channel.tls_cert: DIR/bare.pem is for no DNS name or URI, of which channel.tls_allowed " +
			"({name}.nodes.example.com) allows none: put the pattern of your nodes' certificates there"},
		{noCA, "channel.tls_ca: no PEM certificate in DIR/a.key"},
		{guarded, "channel.tls_key: permission denied"},
	} {
		if _, err := grpctransport.PKICredentials(c.files); err == nil || strings.ReplaceAll(err.Error(), p.dir, "DIR") != c.want {
			t.Errorf("%v\nwant %s", err, c.want)
		}
	}
}

func TestAllowed(t *testing.T) {
	t.Parallel()
	const spiffe = "spiffe://example.com/node/{name}"
	for _, c := range []struct {
		allowed string
		sans    []string
		want    string
	}{
		{ours, []string{"n1.nodes.example.com"}, "n1"},
		{ours, []string{"n1.NODES.Example.com."}, "n1"},
		{ours, []string{"www.example.com", "n1.nodes.example.com", "n2.nodes.example.com"}, "n1 n2"},
		{ours, []string{"nodes.example.com"}, ""},
		{ours, []string{"x.n1.nodes.example.com"}, ""},
		{ours, []string{"n1.nodes.example.com.evil.org"}, ""},
		{ours, []string{"n1xnodes.example.com"}, ""},
		{ours, []string{"*.nodes.example.com"}, ""},
		{ours, []string{".nodes.example.com"}, ""},
		{ours, []string{strings.Repeat("n", 33) + ".nodes.example.com"}, ""},
		{ours, []string{"https://n1.nodes.example.com"}, ""},
		{"node-{name}.*.example.com", []string{"node-1.eu.example.com"}, "1"},
		{"node-{name}.*.example.com", []string{"node-1.example.com"}, ""},
		{"node-{name}.*.example.com", []string{"node-.eu.example.com", "node.eu.example.com"}, ""},
		{"node-{name}.*.example.com", []string{"node-1.*.example.com"}, ""},
		{spiffe, []string{"spiffe://example.com/node/n1"}, "n1"},
		{spiffe, []string{"spiffe://example.com/node/n1/x"}, ""},
		{spiffe, []string{"spiffe://example.com/Node/n1"}, ""},
		{spiffe, []string{"spiffe://evil.org/node/n1"}, ""},
		{spiffe, []string{"spiffe://example.com/node/n%2f1"}, ""},
		{spiffe, []string{"http://example.com/node/n1"}, ""},
		{"spiffe://example.com/*/{name}", []string{"spiffe://example.com/eu/n1"}, "n1"},
	} {
		a, err := grpctransport.ParseAllowed([]string{c.allowed})
		if err != nil {
			t.Fatal(err)
		}
		leaf, _ := makeCert(t, t.TempDir(), "x", nil, nil, c.sans...)
		if got := strings.Join(a.Names(leaf), " "); got != c.want {
			t.Errorf("%s of %v is %q, want %q", c.allowed, c.sans, got, c.want)
		}
	}
	for _, bad := range [][]string{
		nil,
		{""},
		{"*"},
		{"{name}"},
		{"*.nodes.example.com"},
		{"{name}.{name}.com"},
		{"{name}..com"},
		{".{name}.com"},
		{"{name}.n*.com"},
		{"*://example.com/{name}"},
		{"{name}://example.com"},
		{"spiffe://example.com//{name}"},
		{ours, "n1.example.com"},
	} {
		if _, err := grpctransport.ParseAllowed(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
