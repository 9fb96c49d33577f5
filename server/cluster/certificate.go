package cluster

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/server/keys"
)

// ForHTTPS is the TLS of a listener, by the keys tls_cert and tls_key of a section of the conf; nil:
// they name none. A changed file is read within a second of a connection; while the two don't go
// together or can't be read, the certificate before stays, and the log says so.
func ForHTTPS(section, certFile, keyFile string, log *slog.Logger) (*tls.Config, error) {
	if certFile == "" {
		return nil, nil //nolint:nilnil // no TLS is no error
	}
	cert := &certificate{section: section, cert: certFile, key: keyFile, log: log}
	if err := cert.read(); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return cert.current(time.Now()), nil
	}}, nil
}

// certificate is that of two files, as they are now.
type certificate struct {
	section   string // of the conf, which names them
	cert, key string // files
	log       *slog.Logger

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
		c.log.Info("certificate changed", "event", "conf", "what", "the certificate", "file", c.cert, "until", c.pair.Leaf.NotAfter)
	}
	return c.pair
}

func (c *certificate) stat() string { return keys.State(c.cert, c.key) }

// read takes the files over. The state is noted before, so that a change meanwhile is seen later.
func (c *certificate) read() error {
	c.state = c.stat()
	cert, err := keys.Read(c.cert)
	if err != nil {
		return fmt.Errorf("%s.tls_cert: %w", c.section, err)
	}
	key, err := keys.ReadPrivate(c.key)
	if err != nil {
		return fmt.Errorf("%s.tls_key: %w", c.section, err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("%s.tls_cert %s, %s.tls_key %s: %w", c.section, c.cert, c.section, c.key, err)
	}
	c.pair = &pair
	return nil
}
