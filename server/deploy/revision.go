package deploy

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/server/session"
)

// Revision is one build of an app's code: its handler, and the requests that it serves.
type Revision struct {
	Version string // as the app calls itself
	Origin  string // file of the plugin, or "compiled in"
	Source  string // hash of the plugin's sources; empty: compiled in
	Since   time.Time

	number string // no other of this process has it

	handler   http.Handler
	listeners *session.Listeners
	life      context.Context //nolint:containedctx // the revision's life, handed to the app as Context.Done
	end       context.CancelFunc

	labels   context.Context //nolint:containedctx // carries the labels of the goroutines that it starts
	closed   sync.Once
	inFlight atomic.Int64
	retired  atomic.Bool // no request is to come
	once     sync.Once
	idle     chan struct{}
}

// newRevision makes a revision whose life is within another.
func newRevision(within context.Context) *Revision {
	v := &Revision{idle: make(chan struct{}), number: strconv.FormatInt(revisions.Add(1), 10), Since: time.Now()}
	v.life, v.end = context.WithCancel(within)
	return v
}

var revisions atomic.Int64

// InFlight is how many requests the revision serves now.
func (v *Revision) InFlight() int64 { return v.inFlight.Load() }

// give ends a request.
func (v *Revision) give() {
	if v.inFlight.Add(-1) == 0 && v.retired.Load() {
		v.settled()
	}
}

// retire says that the revision is not its place's any more. The channel closes when its
// last request has ended.
func (v *Revision) retire() <-chan struct{} {
	v.retired.Store(true)
	if v.inFlight.Load() == 0 {
		v.settled()
	}
	return v.idle
}

func (v *Revision) settled() { v.once.Do(func() { close(v.idle) }) }
