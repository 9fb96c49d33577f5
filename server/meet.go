package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nodeserver/nodeserver/channel/grpctransport"
	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/keys"
)

// Security is how whoever has this conf proves to members that they belong to
// the cluster, and members to them: by the conf's own PKI, by the cluster's secret,
// or not at all. Without proof, and unless channel.insecure is set, a conf that
// leads to other machines is refused (see [Unproven]). The name goes into a
// certificate made from the secret; the PKI's must prove it, unless it is empty. It reads the files that the conf names; its
// errors say which key is concerned.
func Security(c Config, name string) (grpctransport.Security, error) {
	if problems := Unproven(c); len(problems) > 0 {
		return grpctransport.Security{}, errors.New(problems[0].Key + ": " + problems[0].Text)
	}
	if err := oneUseEach(c); err != nil {
		return grpctransport.Security{}, err
	}
	switch {
	case c.Channel.TLSCA != "":
		allowed, err := grpctransport.ParseAllowed(c.Channel.TLSAllowed)
		if err != nil {
			return grpctransport.Security{}, fmt.Errorf("channel.tls_allowed: %w", err)
		}
		return grpctransport.PKICredentials(grpctransport.PKI{
			CA: c.Channel.TLSCA, Cert: c.Channel.TLSCert, Key: c.Channel.TLSKey,
			Allowed: allowed, Name: name, Read: keys.Read, ReadPrivate: keys.ReadPrivate,
		})
	case c.Cluster.SecretFile != "":
		secret, err := keys.ReadSecret(c.Cluster.SecretFile)
		if err != nil {
			return grpctransport.Security{}, fmt.Errorf("cluster.secret_file: %w", err)
		}
		return grpctransport.SecretCredentials([]grpctransport.Seed{secret.Derive(grpctransport.Purpose)}, name)
	case c.Channel.Insecure:
		return grpctransport.Insecure(), nil
	}
	return grpctransport.Security{}, nil
}

// tokenKeys are the keys of users' tokens that the cluster's secret gives. Where members prove
// themselves otherwise there are none, and the delta managers agree on some.
func tokenKeys(c Config) ([]deltamanager.TokenKey, error) {
	if c.Cluster.SecretFile == "" || c.Channel.TLSCA != "" {
		return nil, nil
	}
	secret, err := keys.ReadSecret(c.Cluster.SecretFile)
	if err != nil {
		return nil, fmt.Errorf("cluster.secret_file: %w", err)
	}
	key := secret.Derive("nodeserver tokens v1")
	return []deltamanager.TokenKey{deltamanager.TokenKey(key[:])}, nil
}

// oneUseEach refuses a secret that is used for two things: whoever is told it for
// one could do the other.
func oneUseEach(c Config) error {
	if c.Cluster.SecretFile == "" || c.Admin.TokenFile == "" {
		return nil
	}
	secret, err := keys.ReadSecret(c.Cluster.SecretFile)
	if err != nil {
		return fmt.Errorf("cluster.secret_file: %w", err)
	}
	token, err := readToken(c.Admin.TokenFile)
	if err != nil {
		return err
	}
	if token.Equal(secret) {
		return fmt.Errorf("admin.token_file: %s holds the same secret as cluster.secret_file, so that an operator's token would make a member: make another with `nodeserver secret new FILE`", c.Admin.TokenFile)
	}
	return nil
}

// keyPair reads the certificate and key for HTTPS.
func keyPair(c HTTPConfig) (tls.Certificate, error) {
	cert, err := keys.Read(c.TLSCert)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("http.tls_cert: %w", err)
	}
	key, err := keys.ReadPrivate(c.TLSKey)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("http.tls_key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return pair, fmt.Errorf("http.tls_cert %s, http.tls_key %s: %w", c.TLSCert, c.TLSKey, err)
	}
	return pair, nil
}

// Providers are the conf's ways to find members. Multicast tells others of self,
// unless self has no name, and is tried for a moment; where it doesn't work, and
// there are other ways, the log and the provider's Stats say so, and they go on without it.
func Providers(c Config, self membership.Member, log *slog.Logger) ([]membership.Provider, error) {
	var list []membership.Provider
	m := c.Membership
	for _, name := range m.Providers {
		switch name {
		case "static":
			list = append(list, membership.NewStatic(m.Static))
		case "mdns":
			p, err := membership.NewMulticast(membership.MulticastConfig{
				Cluster: c.Cluster.Name, Self: self, Interface: m.Interface, Interval: m.MDNSInterval,
			}, log)
			switch {
			case err == nil:
				list = append(list, p)
			case len(m.Providers) == 1:
				return nil, fmt.Errorf("membership: %w", err)
			default:
				log.Warn("members can't be found this way", "provider", name, "err", err)
				list = append(list, membership.Broken(name, err))
			}
		case "dns":
			list = append(list, membership.NewDNS(m.DNSName, nil, log))
		case "file":
			list = append(list, membership.NewFile(m.File, log))
		default:
			return nil, fmt.Errorf("membership.providers: no provider %q (mdns, static, dns, file)", name)
		}
	}
	return list, nil
}
