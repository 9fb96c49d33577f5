package deltamanager

import (
	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	"github.com/nodeserver/nodeserver/deltamanager/internal/token"
)

// What the parts below share, under the names by which users know it.
type (
	// Key is the internal name of a session: 128 random bits.
	Key = table.Key
	// CookieHash is the first half of the SHA-256 of the id in a user's cookie.
	CookieHash = table.CookieHash
	// Stamp orders all writes of a cluster.
	Stamp = table.Stamp
	// Auth is by which cookie a session is found, and whose the session is.
	Auth = table.Auth
	// Write is one register that a request wrote; a nil value removes it.
	Write = table.Write
	// Limits bound how many sessions there are, how large one is and how long it lives.
	Limits = table.Limits
	// Info is a copy of what is known about a session beside its attributes.
	Info = table.Info
	// Dump is a copy of one session as it is at this node.
	Dump = table.Dump
	// DumpRegister is one register of a Dump.
	DumpRegister = table.DumpRegister

	// Token says that a user has seen a write with this stamp.
	Token = token.Token
	// MAC authenticates a token.
	MAC = token.MAC
	// TokenKey is what MACs are made with: a secret of all members.
	TokenKey = token.Key
	// TokenKeys are those that the cluster's secret gives.
	TokenKeys = token.Secrets
)

const (
	// TokenLife is how long a token is worth carrying.
	TokenLife = token.Life
	// Buckets is the number of parts the sessions of an app are divided into.
	Buckets = table.Buckets
	// MaxAhead is how far a stamp may lie in the future.
	MaxAhead = table.MaxAhead
	// MaxNames bounds a session's attributes, removed ones included.
	MaxNames = table.MaxNames
	// MaxName bounds the name of an attribute, in bytes.
	MaxName = table.MaxName
)
