package grpctransport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/nodeserver/nodeserver/channel"
)

// server are the credentials for serving. failed is told of handshakes that
// fail because the two sides' security differs.
func (s Security) server(failed func(addr string, err error)) credentials.TransportCredentials {
	if !s.TLS() {
		return &handshaker{TransportCredentials: insecure.NewCredentials()}
	}
	return &handshaker{TransportCredentials: credentials.NewTLS(s.serve), failed: failed}
}

// client are the credentials for dialling. note is told why a connection fails.
func (s Security) client(note func(error)) credentials.TransportCredentials {
	h := &handshaker{note: note}
	h.TransportCredentials = insecure.NewCredentials()
	if s.TLS() {
		h.TransportCredentials = credentials.NewTLS(s.dial)
	}
	return h
}

// handshaker is gRPC's own credentials, with the causes of failures kept: gRPC
// makes them text (client), or tells nobody (server).
type handshaker struct {
	credentials.TransportCredentials
	failed func(addr string, err error)
	note   func(error)
}

// ServerHandshake proves the two sides to each other.
func (h *handshaker) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, info, err := h.TransportCredentials.ServerHandshake(raw)
	if err != nil && h.failed != nil {
		if why := differs(err); why != nil {
			h.failed(raw.RemoteAddr().String(), why)
		}
	}
	return c, info, err
}

// ClientHandshake proves the two sides to each other. In TLS 1.3 the server's
// verdict on our certificate comes only when we read.
func (h *handshaker) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, info, err := h.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		if why := differs(err); why != nil {
			err = why
		}
		h.note(err)
		return c, info, err
	}
	return &verdict{Conn: c, note: h.note}, info, nil
}

// Clone is part of credentials.TransportCredentials.
func (h *handshaker) Clone() credentials.TransportCredentials {
	return &handshaker{TransportCredentials: h.TransportCredentials.Clone(), failed: h.failed, note: h.note}
}

// verdict looks out for the server's alert.
type verdict struct {
	net.Conn
	note func(error)
}

// Read reads from the connection.
func (v *verdict) Read(b []byte) (int, error) {
	n, err := v.Conn.Read(b)
	if err != nil {
		if why := differs(err); why != nil {
			v.note(why)
		}
	}
	return n, err
}

// differs tells whether a handshake failed because of the two sides' security,
// and how; nil if it was something else, such as a connection cut.
func differs(err error) error {
	var plain tls.RecordHeaderError
	if errors.As(err, &plain) {
		return fmt.Errorf("%w (%w)", channel.ErrPlain, err)
	}
	var unknown x509.UnknownAuthorityError
	var remote *net.OpError
	if errors.As(err, &unknown) || errors.As(err, &remote) && remote.Op == "remote error" {
		return fmt.Errorf("%w (%w)", channel.ErrSecret, err)
	}
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	if errors.As(err, &invalid) || errors.As(err, &host) {
		return err
	}
	return nil
}
