package server

import (
	"net"

	"github.com/nodeserver/nodeserver/channel/listen"
	"github.com/nodeserver/nodeserver/server/cluster"
	"github.com/nodeserver/nodeserver/server/internal/proxied"
)

// listeners are the node's three, for users, operators and members.
type listeners struct {
	httpL, adminL, channelL net.Listener

	bounds  map[string]*listen.Listener // the same with their limits, by what they are for
	release func() error                // lets the one for users take connections; nil: it does
	users   listen.Quieter              // that one, as users are served on it
}

// Shares of the descriptors that the process may have. What users and strangers don't get
// is for members, operators and files.
const (
	usersShare    = 3 // quarters, for the HTTP listener
	maxUnproven   = 512
	unprovenShare = 8  // an eighth at most, for channel connections that prove nothing
	perAddress    = 64 // of these, from one address
)

// bound puts limits on what others can hold open at this node.
func (s *Server) bound() {
	most := listen.Descriptors()
	s.bounds = map[string]*listen.Listener{
		"http":  listen.New(s.httpL, cluster.ForUsers(s.cfg.HTTP, most/4*usersShare, s.log)),
		"admin": listen.New(s.adminL, cluster.ForAdmin(s.cfg.HTTP, s.log)),
		"channel": listen.New(s.channelL, listen.Limits{
			Unproven: max(1, min(maxUnproven, most/unprovenShare)), UnprovenPerAddress: perAddress,
			Refused: cluster.Refusals(s.log, "channel"), Failed: cluster.Unaccepted(s.log, "channel"),
		}),
	}
	s.users = proxied.New(s.bounds["http"], s.cfg.HTTP, s.trust, s.log)
	cluster.WarnOfFew(s.log)
}
