package grpctransport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
)

// terms are what proves that a process is a member. They are not changed.
type terms struct {
	serve, dial *tls.Config
	names       func(*x509.Certificate) []string // names of members that a certificate proves
	stranger    error                            // the error where one side refuses the other's certificate
}

// proof is the terms in force, and the connections that were made under them or earlier ones.
type proof struct {
	mu    sync.Mutex
	terms *terms
	conns map[*provenConn]struct{}
}

func newProof(t *terms) *proof { return &proof{terms: t, conns: map[*provenConn]struct{}{}} }

// now are the terms in force; none where members prove nothing.
func (s Security) now() *terms {
	if s.proof == nil {
		return &terms{}
	}
	s.proof.mu.Lock()
	defer s.proof.mu.Unlock()
	return s.proof.terms
}

// Renew replaces the secrets or certificates by those of another Security, for all copies of s and
// for all transports that use one. Connections whose other side could not prove its identity with
// what is in force now are closed, and counted; members make them anew. It is an error if the two
// differ in kind: neither TLS nor where its certificates come from can be changed while others are
// connected.
func (s Security) Renew(o Security) (closed int, err error) {
	if s.TLS() != o.TLS() || s.now().stranger != o.now().stranger || s.trusting != o.trusting { //nolint:errorlint // the same value
		return 0, errors.New("how members prove their identity (secret, certificates, or not at all) can't be changed while the node runs")
	}
	if s.proof == nil {
		return 0, nil
	}
	fresh := o.now()
	s.proof.mu.Lock()
	defer s.proof.mu.Unlock()
	s.proof.terms = fresh
	for c := range s.proof.conns {
		if !fresh.prove(c.state, c.at) {
			delete(s.proof.conns, c)
			closed++
			_ = c.raw.Close() // gRPC's next read or write fails
		}
	}
	return closed, nil
}

// prove tells whether the certificates that a peer showed at that time make a member today. The
// host that was dialled was compared with them then.
func (t *terms) prove(state tls.ConnectionState, at time.Time) bool {
	if len(state.PeerCertificates) == 0 {
		return false
	}
	rest := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		rest.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: t.serve.ClientCAs, Intermediates: rest, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err == nil && t.serve.VerifyConnection != nil {
		err = t.serve.VerifyConnection(state)
	}
	return err == nil
}

// keep notes a connection whose other side has proved its identity. It is forgotten when it is
// closed. One that a Renew made stale meanwhile is closed at once.
func (p *proof) keep(c, raw net.Conn, info credentials.AuthInfo) net.Conn {
	tlsInfo, ok := info.(credentials.TLSInfo)
	if !ok {
		return c
	}
	kept := &provenConn{Conn: c, raw: raw, proof: p, state: tlsInfo.State, at: time.Now()}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.terms.prove(kept.state, kept.at) {
		_ = raw.Close()
		return c
	}
	p.conns[kept] = struct{}{}
	return kept
}

// provenConn is a connection to a member.
type provenConn struct {
	net.Conn
	raw   net.Conn
	proof *proof
	state tls.ConnectionState
	at    time.Time // of the handshake
}

// Close implements net.Conn.
func (c *provenConn) Close() error {
	c.proof.mu.Lock()
	delete(c.proof.conns, c)
	c.proof.mu.Unlock()
	return c.Conn.Close()
}
