package grpctransport

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/channel"
)

// Seed is a key of 32 bytes that nobody can guess, equal on all members and used for nothing else.
// It is derived from the cluster's secret for Purpose.
type Seed [ed25519.SeedSize]byte

// Purpose is the purpose for which a Seed is derived from the cluster's secret.
const Purpose = "nodeserver channel CA v2"

const (
	// channelName is the host name in certificates made from a secret: the host of a member proves
	// nothing, the secret does.
	channelName = "channel.nodeserver.internal"
	caName      = "nodeserver cluster"
	certLife    = 24 * time.Hour
	certSkew    = 12 * time.Hour // how far clocks of members may be apart
)

// Security says how members prove their identity to each other. The zero value has no proof: it is
// for members on this machine, and dials loopback addresses only.
type Security struct {
	proof    *proof // shared by all copies; nil: there is none
	trusting bool   // nothing is proven, and all addresses are dialled
}

// Insecure is for networks where the operator trusts all machines: members prove nothing, and any
// address is dialled.
func Insecure() Security { return Security{trusting: true} }

// TLS tells whether connections are encrypted and both sides prove their identity.
func (s Security) TLS() bool { return s.proof != nil }

// SecretCredentials makes mutual TLS from cluster secrets: the seed of each gives a CA, the same on
// every node that knows it. The node issues itself certificates by the first, and renews them;
// certificates by any are accepted. The CAs of the others certify that of the first, so that a
// member which knows only one of them accepts this node, too (cross-certificates, as in RFC 4210,
// section 4.4). So a secret is changed without a stop: put the new one before the old one on all
// nodes, in any order and at any time, then take the old one away. name is the member's, which
// certificates prove.
func SecretCredentials(seeds []Seed, name string) (Security, error) {
	if len(seeds) == 0 {
		return Security{}, errors.New("channel credentials: no cluster secret")
	}
	pool := x509.NewCertPool()
	own := &issuer{name: name}
	for i, seed := range seeds {
		a, err := makeCA(seed)
		if err != nil {
			return Security{}, fmt.Errorf("channel credentials: cluster secret %d of %d: %w", i+1, len(seeds), err)
		}
		pool.AddCert(a.cert)
		if own.ca == nil {
			own.ca = a
		} else if err := own.crossed(a); err != nil {
			return Security{}, err
		}
	}
	if _, err := own.current(time.Now()); err != nil {
		return Security{}, fmt.Errorf("channel credentials: %w", err)
	}
	return Security{proof: newProof(&terms{
		names:    func(c *x509.Certificate) []string { return []string{c.Subject.CommonName} },
		stranger: channel.ErrSecret,
		serve: &tls.Config{
			MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
			SessionTicketsDisabled: true, // each connection proves the secret anew
			GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own.current(time.Now()) },
		},
		dial: &tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: channelName,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.current(time.Now()) },
		},
	})}, nil
}

// PKI describes the operator's own certificates: paths of PEM files, and the names in them that
// belong to members.
type PKI struct {
	CA, Cert, Key string
	Allowed       Allowed
	Name          string // of the node, which its certificate must prove; empty: any
	// Read and ReadPrivate read the files, and refuse those that others could have changed, or the
	// key if others can read it.
	Read, ReadPrivate func(path string) ([]byte, error)
}

// PKICredentials makes mutual TLS from the operator's own PEM files. The certificate must be good
// for the host that others dial, for both server and client use, and for the member's name (see
// [ParseAllowed]); that of the other side must prove some member's name, too, and is good for no
// other. The files are read again at each connection, so that they can be renewed in place.
func PKICredentials(p PKI) (Security, error) {
	pem, err := p.Read(p.CA)
	if err != nil {
		return Security{}, fmt.Errorf("channel.tls_ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return Security{}, fmt.Errorf("channel.tls_ca: no PEM certificate in %s", p.CA)
	}
	if _, err := p.load(); err != nil {
		return Security{}, err
	}
	return Security{proof: newProof(&terms{
		names:    p.Allowed.Names,
		stranger: channel.ErrCertificate,
		serve: &tls.Config{
			MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
			SessionTicketsDisabled: true, VerifyConnection: p.verify,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.load() },
		},
		dial: &tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: pool, VerifyConnection: p.verify,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return p.load() },
		},
	})}, nil
}

// load reads this side's certificate. A certificate that other nodes would refuse is an error.
func (p PKI) load() (*tls.Certificate, error) {
	cert, err := p.Read(p.Cert)
	if err != nil {
		return nil, fmt.Errorf("channel.tls_cert: %w", err)
	}
	key, err := p.ReadPrivate(p.Key)
	if err != nil {
		return nil, fmt.Errorf("channel.tls_key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("channel.tls_cert %s, channel.tls_key %s: %w", p.Cert, p.Key, err)
	}
	names := p.Allowed.Names(pair.Leaf)
	switch {
	case len(names) == 0:
		return nil, fmt.Errorf("channel.tls_cert: %s is for %s, of which channel.tls_allowed (%s) allows none: "+
			"put the pattern of your nodes' certificates there", p.Cert, shownNames(pair.Leaf), p.Allowed)
	case p.Name != "" && !slices.Contains(names, p.Name):
		return nil, fmt.Errorf("channel.tls_cert: %s is the certificate of %s, but the node is %q: "+
			"set node.name, or give it a certificate of its own", p.Cert, strings.Join(names, ", "), p.Name)
	}
	return &pair, nil
}

// verify refuses certificates of the CA that are not a member's.
func (p PKI) verify(c tls.ConnectionState) error {
	leaf := c.PeerCertificates[0] // there is one: it has been verified
	if len(p.Allowed.Names(leaf)) == 0 {
		return fmt.Errorf("%w (its certificate is for %s)", channel.ErrCertificate, shownNames(leaf))
	}
	return nil
}

// shownNames are the names in a certificate, for people.
func shownNames(c *x509.Certificate) string {
	list := sans(c)
	if len(list) == 0 {
		return "no DNS name or URI"
	}
	text := strings.Join(list[:min(len(list), 3)], ", ")
	return fmt.Sprintf("%.200q", text)
}

// authority is the CA that a secret stands for.
type authority struct {
	cert *x509.Certificate
	key  ed25519.PrivateKey
}

// makeCA makes the same CA on every node. The cluster's name is not part of it, so that a node of
// another cluster with the same secret still gets a refusal that says so.
func makeCA(seed Seed) (*authority, error) {
	key := ed25519.NewKeyFromSeed(seed[:])
	public := key.Public().(ed25519.PublicKey)
	id := sha256.Sum256(public)
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: caName},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true, MaxPathLen: 1, // below it may be the CA of another secret
		KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: id[:20],
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, public, key)
	if err != nil {
		return nil, fmt.Errorf("make the CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make the CA: %w", err)
	}
	return &authority{cert: cert, key: key}, nil
}

// issuer keeps a certificate of this node that is valid now.
type issuer struct {
	ca   *authority
	by   [][]byte // certificates of this CA by those of other secrets
	name string

	mu   sync.Mutex
	cert *tls.Certificate
}

// crossed has the CA of another secret certify this one.
func (i *issuer) crossed(by *authority) error {
	t := *i.ca.cert
	t.MaxPathLen, t.MaxPathLenZero, t.AuthorityKeyId = 0, true, by.cert.SubjectKeyId
	der, err := x509.CreateCertificate(rand.Reader, &t, by.cert, i.ca.key.Public(), by.key)
	if err != nil {
		return fmt.Errorf("channel credentials: certify the CA of the new secret by that of the old one: %w", err)
	}
	i.by = append(i.by, der)
	return nil
}

func (i *issuer) current(now time.Time) (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.cert != nil && now.Before(i.cert.Leaf.NotAfter.Add(-certSkew)) {
		return i.cert, nil
	}
	cert, err := i.issue(now)
	if err == nil {
		i.cert = cert
	}
	return cert, err
}

func (i *issuer) issue(now time.Time) (*tls.Certificate, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	serial := make([]byte, 16)
	rand.Read(serial)
	t := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), Subject: pkix.Name{CommonName: i.name},
		NotBefore: now.Add(-certSkew), NotAfter: now.Add(certLife),
		DNSNames:    []string{channelName},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, i.ca.cert, public, i.ca.key)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate: %w", err)
	}
	return &tls.Certificate{Certificate: append([][]byte{der}, i.by...), PrivateKey: key, Leaf: leaf}, nil
}
