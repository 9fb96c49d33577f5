//go:build !linux

package listen

import (
	"context"
	"net"
	"time"
)

// Quiet would end the listener's work without a loss; here, connections that wait to be accepted
// when it is closed are reset.
func (l *Listener) Quiet(time.Duration) {}

// Held is a listener at an address that takes connections at once: here, the system can't hold it.
func Held(ctx context.Context, addr string) (l net.Listener, release func() error, err error) {
	l, err = TCP(ctx, addr)
	return l, nil, err
}
