package webapps

import "errors"

// Errors of sessions, for errors.Is: those that are returned say more.
var (
	// ErrGone: the session was invalidated or has expired; nothing was written.
	ErrGone = errors.New("the session has ended")
	// ErrIDChanged: another request has logged the user in or out, or changed the
	// session's id, while this one ran. This one may not go on with the session, since
	// it came with the former cookie; nothing was written. The user should send it again.
	ErrIDChanged = errors.New("another request has changed the session's id")
	// ErrTooLarge: the write would make the session exceed its limit of bytes or
	// attributes; nothing was written.
	ErrTooLarge = errors.New("the session is too large")
	// ErrTooManySessions: the node holds as many sessions as it may. Whatever the
	// handler then does, the user is answered 503.
	ErrTooManySessions = errors.New("the node holds too many sessions")
	// ErrNotReady: the node was paused or still joins; nothing was written.
	ErrNotReady = errors.New("the node is not ready")
	// ErrUnacknowledged: the write was made and goes on replicating, but not as
	// many nodes as asked for have confirmed it in time.
	ErrUnacknowledged = errors.New("the write was not acknowledged in time")
	// ErrDiscarded: the request's changes are discarded, by Discard or after a panic.
	ErrDiscarded = errors.New("the request's changes are discarded")
	// ErrRequestOver: the session was asked for by a goroutine that outlived its
	// request, or by a request that is not the node's.
	ErrRequestOver = errors.New("the request is over")
)
