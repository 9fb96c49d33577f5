package cluster

import (
	"errors"
	"fmt"
	"slices"

	"github.com/nodeserver/nodeserver/channel/grpctransport"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/keys"
)

// Security is how a process with this conf proves to members that it belongs to the cluster, and
// members to it: by the conf's own PKI, by the cluster's secret, or not at all. Without proof,
// and unless channel.insecure is set, a conf that leads to other machines is refused (see
// [Unproven]). The name goes into a certificate made from the secret; the PKI's must prove it,
// unless it is empty. It reads the files that the conf names; its errors say which key is
// concerned.
func Security(c config.Config, name string) (grpctransport.Security, error) {
	if problems := Unproven(c); len(problems) > 0 {
		return grpctransport.Security{}, errors.New(problems[0].Key + ": " + problems[0].Text)
	}
	secrets, err := clusterSecrets(c)
	if err != nil {
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
		var seeds []grpctransport.Seed
		for _, s := range secrets {
			seeds = append(seeds, s.Derive(grpctransport.Purpose))
		}
		return grpctransport.SecretCredentials(seeds, name)
	case c.Channel.Insecure:
		return grpctransport.Insecure(), nil
	}
	return grpctransport.Security{}, nil
}

// clusterSecrets reads the cluster's secrets, the newest first; nil: there is none. It refuses a
// secret that is used for two things: a person that gets it for one of them could do the other.
func clusterSecrets(c config.Config) ([]keys.Secret, error) {
	if c.Cluster.SecretFile == "" || c.Channel.TLSCA != "" && c.Admin.TokenFile == "" {
		return nil, nil
	}
	secrets, err := keys.ReadSecrets(c.Cluster.SecretFile)
	if err != nil {
		return nil, fmt.Errorf("cluster.secret_file: %w", err)
	}
	if c.Admin.TokenFile == "" {
		return secrets, nil
	}
	token, err := keys.ReadSecret(c.Admin.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("admin.token_file: %w", err)
	}
	if slices.ContainsFunc(secrets, token.Equal) {
		return nil, fmt.Errorf(
			"admin.token_file: %s holds the same secret as cluster.secret_file, so that an operator's token would "+
				"make a member: make another with `nodeserver secret new FILE`",
			c.Admin.TokenFile,
		)
	}
	return secrets, nil
}
