package server

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"

	"github.com/nodeserver/nodeserver/server/config"
)

// confDigest is equal on nodes that were told the same, but for what must differ between them: names,
// addresses, paths of files. Of what apps are told it has the keys alone: a value may be
// a secret that could be guessed from a hash.
func (s *Server) confDigest() string {
	c := s.cfg
	c.Node = config.Node{}
	c.HTTP.Address, c.HTTP.TLSCert, c.HTTP.TLSKey = "", "", ""
	c.Admin = config.Admin{PProf: c.Admin.PProf}
	c.Cluster.SecretFile = ""
	c.Channel.Address, c.Channel.Advertise = "", ""
	c.Channel.TLSCA, c.Channel.TLSCert, c.Channel.TLSKey = "", "", ""
	c.Membership = config.Membership{Expect: c.Membership.Expect, Providers: c.Membership.Providers}
	c.Webapps.Dir = ""
	c.Balance, c.Log = config.Balance{}, config.Log{}
	c.Apps = slices.Clone(c.Apps)
	for i, a := range c.Apps {
		c.Apps[i].Config = map[string]any{"keys": slices.Sorted(maps.Keys(a.Config))}
	}
	text, err := json.Marshal(c)
	if err != nil {
		return "" // it holds a value that JSON doesn't have: nothing to compare
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}
