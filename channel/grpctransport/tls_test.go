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
// that have not link to each other.
func TestSecretRotation(t *testing.T) {
	t.Parallel()
	steps := [][]grpctransport.Seed{{oldSecret}, {oldSecret, newSecret}, {newSecret, oldSecret}, {newSecret}}
	for i := range steps[1:] {
		a := start(t, "a", secrets(t, "a", steps[i]...))
		b := start(t, "b", secrets(t, "b", steps[i+1]...), a.addr)
		waitFor(t, "linked", linked(a, b))
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
