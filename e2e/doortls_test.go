package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificate makes one for 127.0.0.1, which is its own CA, and returns its file and that of its key.
func certificate(t *testing.T) (file, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := errors.Join(
		os.WriteFile(file, text, 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return file, keyFile, pool
}

// With TLS from users to the balancer and from there to the nodes, users stay on their node,
// their cookies are Secure, and the node's end moves them. A user who comes by HTTP is sent to HTTPS.
func TestTLSAllTheWay(t *testing.T) {
	t.Parallel()
	file, key, pool := certificate(t)
	sets := []string{"http.tls_cert=" + file, "http.tls_key=" + key}
	c := started(t, sets...)
	plain := freeAddress(t)
	d := door(t, c, append(sets, "balance.nodes_ca="+file, "balance.redirect_address="+plain)...)
	client := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
	}}
	t.Cleanup(client.CloseIdleConnections)
	u := new(user)
	inc := func(url string) reply {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/bench/inc?acks=all", nil)
		if err != nil {
			t.Fatal(err)
		}
		u.send(r)
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK || res.ProtoMajor != 2 || res.Request.URL.Host != d.http {
			t.Fatalf("%s %s by %s: %s %v", res.Status, res.Proto, res.Request.URL, body, err)
		}
		for _, cookie := range res.Cookies() {
			if !cookie.Secure {
				t.Errorf("the cookie %s is not Secure", cookie.Name)
			}
		}
		u.keep(res.Cookies())
		got, err := parse(string(body))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	home := inc("https://" + d.http).node
	for i := range 5 {
		if r := inc("https://" + d.http); r.n != i+2 || r.node != home {
			t.Fatalf("request %d of a user of %s: %+v", i+2, home, r)
		}
	}
	if r := inc("http://" + plain); r.n != 7 || r.node != home {
		t.Errorf("by HTTP: %+v", r)
	}
	if text := d.log.String(); strings.Count(text, "node added") != len(c) {
		t.Errorf("the balancer's log: %s", text)
	}
	for _, n := range c {
		if n.name == home {
			n.kill()
		}
	}
	if r := inc("https://" + d.http); r.n != 8 || r.node == home {
		t.Errorf("after the end of %s: %+v", home, r)
	}
}
