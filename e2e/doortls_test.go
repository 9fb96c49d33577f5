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

// nodesName is in the certificates of nodes.
const nodesName = "nodes.example"

// certificate makes one for 127.0.0.1 and nodesName, which is its own CA, and returns its file and that of its key.
func certificate(t *testing.T) (file, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{nodesName},
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

// Each of the other balancers sends requests by TLS to nodes that have it, and to none whose
// certificate is of another CA.
func TestBalancersBeforeNodesWithTLS(t *testing.T) {
	file, key, pool := certificate(t)
	other, _, _ := certificate(t)
	c := started(t, "http.tls_cert="+file, "http.tls_key="+key)
	direct := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	t.Cleanup(direct.CloseIdleConnections)
	if res, err := direct.Get("https://" + c[0].http + "/bench/raw"); err != nil {
		t.Fatal(err)
	} else if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s %v", res.Status, err)
	}
	for name := range balancers {
		t.Run(name, func(t *testing.T) {
			d := &node{t: t, name: name, http: balancer(t, c, name, "--nodes-ca", file, "--nodes-name", nodesName), client: c[0].client}
			u := new(user)
			home := u.ok(t, d, "inc?acks=all").reply(t)
			for i := range 5 {
				if r := u.ok(t, d, "inc?acks=all").reply(t); r.n != i+2 || r.node != home.node {
					t.Errorf("request %d of a user of %s: %+v", i+2, home.node, r)
				}
			}
			at := unchecked(t, c, name, "--nodes-ca", other, "--nodes-name", nodesName)
			wrong := &node{t: t, name: name, http: at, client: c[0].client}
			within(t, startLimit, "an answer with the wrong CA", func() error {
				a, err := new(user).get(wrong, "inc")
				if err == nil && a.status == http.StatusOK {
					t.Fatal("nodes are believed by a certificate of another CA")
				}
				return err
			})
		})
	}
}
