package grpctransport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/nodeserver/nodeserver/channel"
)

// server are the credentials for serving. failed is called for handshakes that fail because the two
// sides' security differs.
func (s Security) server(failed func(addr string, err error)) credentials.TransportCredentials {
	h := s.handshaker(func(t *terms) *tls.Config { return t.serve })
	h.failed = failed
	return h
}

// client are the credentials for dialling. note receives the reason why a connection fails.
func (s Security) client(note func(error)) credentials.TransportCredentials {
	h := s.handshaker(func(t *terms) *tls.Config { return t.dial })
	h.note = note
	return h
}

func (s Security) handshaker(side func(*terms) *tls.Config) *handshaker {
	h := &handshaker{sec: s, side: side, plain: !s.TLS(), TransportCredentials: insecure.NewCredentials()}
	if s.TLS() {
		h.TransportCredentials = credentials.NewTLS(side(s.now())) // for what it says of itself
	}
	return h
}

// handshaker is gRPC's own credentials, and keeps the causes of failures: gRPC makes them text
// (client), or drops them (server).
type handshaker struct {
	credentials.TransportCredentials
	sec    Security
	side   func(*terms) *tls.Config     // the one that this is
	plain  bool                         // no TLS on this side
	failed func(addr string, err error) // of a server
	note   func(error)                  // of a client
}

// now is what does a handshake: TLS under the terms that are in force now.
func (h *handshaker) now() credentials.TransportCredentials {
	if h.plain {
		return h.TransportCredentials
	}
	return credentials.NewTLS(h.side(h.sec.now()))
}

// kept notes a connection that TLS has proved.
func (h *handshaker) kept(c, raw net.Conn, info credentials.AuthInfo, err error) net.Conn {
	if h.plain || err != nil {
		return c
	}
	return h.sec.proof.keep(c, raw, info)
}

// ServerHandshake proves the two sides to each other.
func (h *handshaker) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, info, err := h.now().ServerHandshake(raw)
	c = h.kept(c, raw, info, err)
	addr := raw.RemoteAddr().String()
	proven := func() {}
	if b, ok := raw.(interface{ Proven() }); ok { // of a listener that bounds strangers
		proven = b.Proven
	}
	switch {
	case err == nil && h.plain:
		c = &verdict{Conn: c, first: func(b []byte, _ error) {
			switch {
			case len(b) == 0:
			case b[0] == tlsHandshake:
				h.failed(addr, channel.ErrPlain)
			default:
				proven() // as far as possible: the client sends something, and is on this machine
			}
		}}
	case err == nil:
		proven()
	}
	if why := h.differs(err); why != nil {
		h.failed(addr, why)
	}
	return c, info, err
}

// ClientHandshake proves the two sides to each other. In TLS 1.3 the server's verdict on our
// certificate comes only when we read.
func (h *handshaker) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, info, err := h.now().ClientHandshake(ctx, authority, raw)
	c = h.kept(c, raw, info, err)
	if err != nil {
		if why := h.differs(err); why != nil {
			err = why
		}
		h.note(err)
		return c, info, err
	}
	return &verdict{Conn: c, secure: !h.plain, first: func(b []byte, err error) {
		why := h.differs(err)
		if len(b) == 0 && h.plain && why == nil {
			why = fmt.Errorf("%w (it closed the connection without a word)", channel.ErrPlain)
		}
		if why != nil {
			h.note(why)
		}
	}}, info, nil
}

// Clone is part of credentials.TransportCredentials.
func (h *handshaker) Clone() credentials.TransportCredentials {
	c := *h
	c.TransportCredentials = h.TransportCredentials.Clone()
	return &c
}

// tlsHandshake is the first byte of a TLS connection.
const tlsHandshake = 0x16

// verdict looks at the first bytes from the other side.
type verdict struct {
	net.Conn
	secure bool // a client's, with TLS
	said   sync.Once
	first  func(b []byte, err error)
}

// Read implements net.Conn.
func (v *verdict) Read(b []byte) (int, error) {
	n, err := v.Conn.Read(b)
	v.said.Do(func() { v.first(b[:n], err) })
	return n, err
}

// Write implements net.Conn. The other side may have closed the connection before gRPC, which
// writes first, reads the reason.
func (v *verdict) Write(b []byte) (int, error) {
	n, err := v.Conn.Write(b)
	if err != nil && v.secure {
		_ = v.SetReadDeadline(time.Now().Add(lastWords)) // fails only where the read does
		_, _ = v.Read(make([]byte, 1))
	}
	return n, err
}

// lastWords bounds the last read of a connection that takes no more bytes: the bytes that were sent
// have arrived already.
const lastWords = 100 * time.Millisecond

// differs tells whether a handshake failed because of the two sides' security, and how; nil if it
// didn't fail, or for another reason, such as a connection cut.
func (h *handshaker) differs(err error) error {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return fmt.Errorf("%w (%w)", channel.ErrPlain, err)
	}
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	remote, ok := errors.AsType[*net.OpError](err)
	if unknown || ok && remote.Op == "remote error" {
		return fmt.Errorf("%w (%w)", h.sec.now().stranger, err)
	}
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	_, host := errors.AsType[x509.HostnameError](err)
	if invalid || host || errors.Is(err, channel.ErrCertificate) {
		return err
	}
	return nil
}
