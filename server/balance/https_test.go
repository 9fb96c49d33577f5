package balance_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/balance"
	common "github.com/nodeserver/nodeserver/server/cluster"
	"github.com/nodeserver/nodeserver/server/config"
)

// certificate writes a certificate for 127.0.0.1, which is its own CA, and its key.
func certificate(t *testing.T, conf config.HTTP, serial int64) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: fmt.Sprint("test ", serial)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
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
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := errors.Join(
		os.WriteFile(conf.TLSKey, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600),
		os.WriteFile(conf.TLSCert, text, 0o600),
	); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return pool
}

func files(t *testing.T) config.HTTP {
	t.Helper()
	dir := t.TempDir()
	return config.HTTP{TLSCert: filepath.Join(dir, "cert.pem"), TLSKey: filepath.Join(dir, "key.pem")}
}

// Users get HTTPS and HTTP/2, by the certificate that is there now, and nodes are told of it.
func TestTLSToUsers(t *testing.T) {
	conf := files(t)
	pool := certificate(t, conf, 1)
	a := newBackend(t, "a")
	a.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-Proto")+" "+r.Proto)
	})
	log := new(lines)
	secure, err := common.ForHTTPS("http", conf.TLSCert, conf.TLSKey, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	d := openWith(t, balance.Config{TLS: secure, HTTP: conf}, fixed(a))
	until(t, "nodes are known", func() bool { return d.log.count("node added") == 1 })
	url := strings.Replace(d.url, "http://", "https://", 1)
	serial := func(pool *x509.CertPool) (n int64, proto, body string) {
		client := &http.Client{
			Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}},
		}
		defer client.CloseIdleConnections()
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		res, err := client.Do(r)
		if err != nil {
			return 0, "", err.Error()
		}
		defer func() { _ = res.Body.Close() }()
		text, _ := io.ReadAll(res.Body)
		return res.TLS.PeerCertificates[0].SerialNumber.Int64(), res.Proto, string(text)
	}
	if n, proto, body := serial(pool); n != 1 || proto != "HTTP/2.0" || body != "https HTTP/1.1" {
		t.Errorf("certificate %d, %s, %q", n, proto, body)
	}
	if err := os.WriteFile(conf.TLSCert, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "a broken file is told of", func() bool {
		n, _, body := serial(pool)
		if n != 1 {
			t.Fatalf("certificate %d: %s", n, body)
		}
		return log.count("the one before stays") == 1
	})
	next := certificate(t, conf, 2)
	until(t, "the new certificate", func() bool { n, _, _ := serial(next); return n == 2 })
}

func TestRedirectToHTTPS(t *testing.T) {
	conf := files(t)
	certificate(t, conf, 1)
	secure, err := common.ForHTTPS("http", conf.TLSCert, conf.TLSKey, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := balance.Listen(t.Context(), "balance.redirect_address", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := openRedirecting(t, balance.Config{TLS: secure}, fixed(), plain)
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(d.url, "http://"))
	redirects(t, plain.Addr().String(), ":"+port)
}

// Where users come by another port than the balancer's own, the conf names it; 443 needs no name.
func TestRedirectToAnotherPort(t *testing.T) {
	conf := files(t)
	certificate(t, conf, 1)
	secure, err := common.ForHTTPS("http", conf.TLSCert, conf.TLSKey, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for port, want := range map[int]string{8443: ":8443", 443: ""} {
		plain, err := balance.Listen(t.Context(), "balance.redirect_address", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		openRedirecting(t, balance.Config{TLS: secure, RedirectPort: port}, fixed(), plain)
		redirects(t, plain.Addr().String(), want)
	}
}

// redirects checks to which hosts and ports users are sent who come to the address by HTTP.
func redirects(t *testing.T, at, port string) {
	t.Helper()
	for host, want := range map[string]string{
		"shop.example":      "https://shop.example" + port + "/a%20b?c=d",
		"shop.example:8080": "https://shop.example" + port + "/a%20b?c=d",
		"[2001:db8::1]:80":  "https://[2001:db8::1]" + port + "/a%20b?c=d",
		"a@b":               "",
	} {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+at+"/a%20b?c=d", nil)
		r.Host = host
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if got := res.Header.Get(
			"Location",
		); got != want || (want == "") != (res.StatusCode == http.StatusBadRequest) ||
			want != "" && res.StatusCode != http.StatusPermanentRedirect {
			t.Errorf("%s: %d to %q, want %q", host, res.StatusCode, got, want)
		}
	}
}

// A node that speaks TLS is served by TLS, if it proves its name.
func TestTLSToNodes(t *testing.T) {
	conf := files(t)
	pool := certificate(t, conf, 1)
	other := certificate(t, files(t), 2)
	secure, err := common.ForHTTPS("http", conf.TLSCert, conf.TLSKey, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		tls    *tls.Config
		status int
	}{
		"its CA":     {&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, http.StatusOK},
		"another CA": {&tls.Config{RootCAs: other, MinVersion: tls.VersionTLS12}, http.StatusServiceUnavailable},
		"another name": {
			&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12, ServerName: "node.example"}, http.StatusServiceUnavailable,
		},
		"the system's":  {nil, http.StatusServiceUnavailable},
		"not by itself": {&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}, http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			b := &backend{name: "a", incarnation: 7}
			b.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.TLS != nil, " ", r.ContentLength) })
			ln, err := balance.Listen(t.Context(), "test", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			srv := &http.Server{
				Handler: http.HandlerFunc(b.serve), TLSConfig: secure, DisableGeneralOptionsHandler: true, ReadHeaderTimeout: time.Minute,
				ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
			}
			go func() { _ = srv.ServeTLS(ln, "", "") }()
			t.Cleanup(func() { _ = srv.Close() })
			d := openWith(
				t,
				balance.Config{NodesTLS: c.tls},
				balance.Fixed{{Name: "a", Incarnation: 7, Address: ln.Addr().String(), TLS: true}},
			)
			until(t, "nodes are known", func() bool { return d.log.count("node added") == 1 })
			for range 3 {
				if status, body := d.ask(t, http.MethodPost, "body"); status != c.status || status == http.StatusOK && body != "true 4" {
					t.Errorf("%d %s", status, body)
				}
			}
			if hits := b.hits.Load(); (hits > 0) != (c.status == http.StatusOK) {
				t.Errorf("%d requests reached the node", hits)
			}
			if down := d.log.count("node down"); (down > 0) != (c.status != http.StatusOK) {
				t.Errorf("marked down %d times", down)
			}
		})
	}
}
