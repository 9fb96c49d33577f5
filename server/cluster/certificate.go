package cluster

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/keys"
)

// ForHTTPS is the TLS of a listener for users, by http.tls_cert and http.tls_key; nil: the conf
// names none. A changed file is read within a second of a connection; while the two don't go
// together or can't be read, the certificate before stays, and the log says so.
func ForHTTPS(c config.HTTP, log *slog.Logger) (*tls.Config, error) {
	if c.TLSCert == "" {
		return nil, nil //nolint:nilnil // no TLS is no error
	}
	cert := &certificate{conf: c, log: log}
	if err := cert.read(); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return cert.current(time.Now()), nil
	}}, nil
}

// certificate is that of two files, as they are now.
type certificate struct {
	conf config.HTTP
	log  *slog.Logger

	mu     sync.Mutex
	pair   *tls.Certificate
	looked time.Time // when the files were last looked at
	state  string    // of the files that pair, or the error, is from
}

func (c *certificate) current(now time.Time) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.looked) < time.Second {
		return c.pair
	}
	c.looked = now
	if c.stat() == c.state {
		return c.pair
	}
	if err := c.read(); err != nil {
		c.log.Warn("the changed certificate can't be used, the one before stays", "err", err)
	} else {
		c.log.Info("certificate changed", "event", "conf", "what", "the certificate", "file", c.conf.TLSCert, "until", c.pair.Leaf.NotAfter)
	}
	return c.pair
}

func (c *certificate) stat() string { return keys.State(c.conf.TLSCert, c.conf.TLSKey) }

// read takes the files over. The state is noted before, so that a change meanwhile is seen later.
func (c *certificate) read() error {
	c.state = c.stat()
	cert, err := keys.Read(c.conf.TLSCert)
	if err != nil {
		return fmt.Errorf("http.tls_cert: %w", err)
	}
	key, err := keys.ReadPrivate(c.conf.TLSKey)
	if err != nil {
		return fmt.Errorf("http.tls_key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("http.tls_cert %s, http.tls_key %s: %w", c.conf.TLSCert, c.conf.TLSKey, err)
	}
	c.pair = &pair
	return nil
}
