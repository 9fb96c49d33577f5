package deltamanager

import (
	"errors"
	"fmt"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/wire"
)

// States that callers branch on.
var (
	// ErrGone: the session was invalidated or has expired; nothing was written.
	ErrGone = errors.New("session is gone")
	// ErrMoved: another request has given the session's user another id; nothing was written.
	ErrMoved = errors.New("session goes on under another id")
	// ErrTooLarge: the write would make the session exceed its limit; nothing was written.
	ErrTooLarge = errors.New("session too large")
	// ErrFull: this node holds as many sessions as it may.
	ErrFull = errors.New("too many sessions")
	// ErrNotReady: the node was paused or still joins; nothing was written.
	ErrNotReady = errors.New("node is not ready")
	// ErrUnacked: the write was made and goes on replicating, but not as many
	// members as asked for have confirmed it in time.
	ErrUnacked = errors.New("write not acknowledged in time")
)

func errFarAhead(d time.Duration) error {
	return fmt.Errorf("%w: stamped %v in the future", wire.ErrMalformed, d.Round(time.Second))
}
