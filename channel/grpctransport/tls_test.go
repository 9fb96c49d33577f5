package grpctransport_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/channel/grpctransport"
)

var (
	oldSecret = grpctransport.Seed(bytes.Repeat([]byte("old."), 8))
	newSecret = grpctransport.Seed(bytes.Repeat([]byte("new."), 8))
)

func secrets(t *testing.T, name string, list ...grpctransport.Seed) grpctransport.Security {
	t.Helper()
	s, err := grpctransport.SecretCredentials(list, name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func linked(a, b *node) func() bool {
	return func() bool { return len(a.box.links()) == 1 && len(b.box.links()) == 1 }
}

func says(n *node, text string) func() bool {
	return func() bool { return strings.Contains(n.log.String(), text) }
}

// wantStray waits for a node that met only others of another cluster to end.
func wantStray(t *testing.T, n *node, want error) {
	t.Helper()
	select {
	case err := <-n.err:
		var stray *channel.StrayError
		if !errors.As(err, &stray) || !errors.Is(err, want) {
			t.Errorf("it ended with %v, want a stray's %v", err, want)
		}
	case <-time.After(10 * time.Second):
		t.Error("a stray goes on")
	}
}

func TestSecretsThatDiffer(t *testing.T) {
	t.Parallel()
	a := start(t, "a", secrets(t, "a", oldSecret))
	b := start(t, "b", secrets(t, "b", newSecret), a.addr)
	const text = "the cluster secrets differ: give both nodes the same [cluster] secret_file"
	waitFor(t, "a says why", says(a, text))
	waitFor(t, "b says why", says(b, text))
	wantStray(t, b, channel.ErrSecret)
	for _, n := range []*node{a, b} {
		if len(n.box.links()) != 0 || len(n.Members()) != 1 {
			t.Errorf("%s is linked", n.addr)
		}
		if got := strings.Count(n.log.String(), text); got != 1 {
			t.Errorf("said %d times, want once", got)
		}
		if strings.Contains(n.log.String(), "old.old") || strings.Contains(n.log.String(), "new.new") {
			t.Error("a secret is in the log")
		}
	}
}

// A secret is changed while the cluster runs: at each step neighbours that have made it and those
// that have not link to each other, whichever of the two dials.
func TestSecretRotation(t *testing.T) {
	t.Parallel()
	steps := [][]grpctransport.Seed{{oldSecret}, {newSecret, oldSecret}, {newSecret}}
	for i := range steps[1:] {
		for _, pair := range [][2]int{{i, i + 1}, {i + 1, i}} {
			a := start(t, "a", secrets(t, "a", steps[pair[0]]...))
			b := start(t, "b", secrets(t, "b", steps[pair[1]]...), a.addr)
			waitFor(t, "linked", linked(a, b))
		}
	}
}

// Nodes that are linked change their secret while they run: links stay while both secrets are in
// force, links that were made with the old one are made anew when it goes, and a node that has only
// that one is refused, and told why.
func TestSecretRotationOfLinkedNodes(t *testing.T) {
	t.Parallel()
	renew := func(name string, sec grpctransport.Security, list ...grpctransport.Seed) int {
		t.Helper()
		closed, err := sec.Renew(secrets(t, name, list...))
		if err != nil {
			t.Fatal(err)
		}
		return closed
	}
	secA, secB, secC := secrets(t, "a", oldSecret), secrets(t, "b", oldSecret), secrets(t, "c", oldSecret)
	a := start(t, "a", secA)
	b := start(t, "b", secB, a.addr)
	c := start(t, "c", secC, a.addr, b.addr)
	all := func(want int, list ...*node) func() bool {
		return func() bool {
			for _, n := range list {
				if len(n.box.links()) != want {
					return false
				}
			}
			return true
		}
	}
	waitFor(t, "linked", all(2, a, b, c))
	if n := renew("a", secA, newSecret, oldSecret) + renew("b", secB, newSecret, oldSecret); n > 0 {
		t.Errorf("%d connections closed while both secrets are in force", n)
	}
	if n := renew("a", secA, newSecret); n == 0 {
		t.Error("no connection closed when the old secret goes")
	}
	renew("b", secB, newSecret)
	waitFor(t, "linked by the new secret, without the one that has the old one", func() bool {
		return all(1, a, b)() && all(0, c)() && a.box.links()[0].Name == "b" && b.box.links()[0].Name == "a"
	})
	waitFor(t, "the one with the old secret says why", says(c, "the cluster secrets differ"))
	renew("c", secC, newSecret)
	waitFor(t, "linked again", all(2, a, b, c))
	if _, err := secA.Renew(grpctransport.Insecure()); err == nil {
		t.Error("a node that proved its identity stops to do so")
	}
}

func TestPlainMeetsTLS(t *testing.T) {
	t.Parallel()
	const text = "one side speaks TLS and the other doesn't"
	a := start(t, "a", secrets(t, "a", oldSecret))
	b := start(t, "b", grpctransport.Insecure(), a.addr)
	c := start(t, "c", secrets(t, "c", oldSecret), b.addr)
	waitFor(t, "the TLS side that is dialled says so", says(a, text))
	waitFor(t, "the TLS side that dials says so", says(c, text))
	waitFor(t, "the plain side says so, as the one that dials", says(b, a.addr+": "+text))
	waitFor(t, "and as the one that is dialled", func() bool {
		return strings.Count(b.log.String(), text) == 2
	})
	wantStray(t, b, channel.ErrPlain)
	wantStray(t, c, channel.ErrPlain)
}

func TestOtherName(t *testing.T) {
	t.Parallel()
	a := start(t, "a", secrets(t, "a", oldSecret))
	b := start(t, "b", secrets(t, "liar", oldSecret), a.addr)
	waitFor(t, "a says so", says(a, `hello of \"b\" with a certificate of \"liar\"`))
	if len(b.box.links()) != 0 {
		t.Error("linked")
	}
}

func TestSecretCredentialsRefuse(t *testing.T) {
	t.Parallel()
	if _, err := grpctransport.SecretCredentials(nil, "a"); err == nil {
		t.Error("no secret at all was accepted")
	}
}

// makeCert writes NAME.pem and NAME.key: a CA, or a leaf for 127.0.0.1 and the DNS names and URIs,
// of the one given.
func makeCert(
	t *testing.T, dir, name string, parent *x509.Certificate, parentKey *ecdsa.PrivateKey, sans ...string,
) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, san := range sans {
		if u, err := url.Parse(san); err == nil && u.Scheme != "" {
			tmpl.URIs = append(tmpl.URIs, u)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, san)
		}
	}
	if parent == nil {
		tmpl.IsCA, tmpl.ExtKeyUsage, tmpl.IPAddresses = true, nil, nil
		parent, parentKey = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for suffix, b := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(dir, name+suffix), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}
