package webapps

// Sessions is what a node's Context offers besides Context, to tools that look
// at all sessions of their app rather than at their user's:
//
//	all, ok := c.(webapps.Sessions)
//
// Ordinary apps don't need it, and a Context of a later kind may lack it. Safe
// for concurrent use.
type Sessions interface {
	// SessionCount is how many sessions of the app this node holds now, whoever
	// created them. It may differ between nodes while deltas are on their way.
	SessionCount() int
	// NewSession makes a session that belongs to no request. Nobody has its
	// cookie. It exists once its Commit returns nil, here and soon on all nodes
	// that host the app; the error says which limit keeps it from being made.
	NewSession() (*Session, error)
}
