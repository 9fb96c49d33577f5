package balance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// dialTimeout bounds the wait for a machine that doesn't answer at all.
const dialTimeout = time.Second

// dialError is any failure to make a connection: nothing was sent.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

// errGone breaks off a wait for a node that the Source has given up.
var errGone = errors.New("the members say it is gone")

// errNobody says that there was no node left to try.
var errNobody = errors.New("no node left to try")

func newTransport() *http.Transport {
	d := net.Dialer{Timeout: dialTimeout}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := d.DialContext(ctx, network, addr)
			if err != nil {
				return nil, &dialError{err}
			}
			return c, nil
		},
		DisableCompression:    true, // bytes pass as they are
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		WriteBufferSize:       16 << 10,
		ReadBufferSize:        16 << 10,
	}
}

// visit is one request of a user on its way through the front door. Only the
// goroutine that serves it uses it.
type visit struct {
	routes  []string // from its cookies, in their order
	node    *node    // that answered; in flight there
	release func()   // ends the request to that node
}

type visitKey struct{}

// chooser is the RoundTripper behind the proxy: it sends a request to the best
// node, and to others as long as that can do no harm.
type chooser struct{ b *Balancer }

// RoundTrip implements http.RoundTripper. The error wraps errNobody if every
// node was tried.
func (c chooser) RoundTrip(out *http.Request) (*http.Response, error) {
	v := out.Context().Value(visitKey{}).(*visit)
	body := keepBody(out)
	var tried []*node
	last := errors.New("none is known")
	for {
		n := c.b.pool.take(v.routes, tried)
		if n == nil {
			return nil, fmt.Errorf("%w: %w", errNobody, last)
		}
		res, release, err := c.b.try(n, out, body)
		if err == nil {
			v.node, v.release = n, release
			return res, nil
		}
		release()
		tried = append(tried, n)
		last = fmt.Errorf("node %s: %w", n.Name, err)
		if !c.b.mayRetry(n, out, body, err) {
			return nil, last
		}
	}
}

// try asks one node. The request to it, its answer's body included, lasts until
// release.
func (b *Balancer) try(n *node, out *http.Request, body *keptBody) (*http.Response, func(), error) {
	ctx, cancel := context.WithCancelCause(out.Context())
	release := func() {
		cancel(nil)
		b.pool.release(n)
	}
	to := out.WithContext(ctx)
	url := *out.URL
	url.Scheme, url.Host = "http", n.Address
	to.URL = &url
	if body != nil {
		to.Body = body
	}
	if n.gone.Err() != nil {
		return nil, release, &dialError{errGone} // nothing was sent
	}
	// Only until the answer begins: what comes after may well come to its end.
	stop := context.AfterFunc(n.gone, func() { cancel(errGone) }) //nolint:contextcheck // the node's life, not the request's
	res, err := n.transport.RoundTrip(to)
	if !stop() {
		if err == nil {
			_ = res.Body.Close()
		}
		return nil, release, errGone
	}
	return res, release, err
}

// mayRetry notes what the error says of the node, and tells whether another
// one may be asked.
func (b *Balancer) mayRetry(n *node, out *http.Request, body *keptBody, err error) bool {
	if out.Context().Err() != nil {
		return false // the user has gone
	}
	var dial *dialError
	switch {
	case errors.As(err, &dial):
		b.markDown(n, dial)
		if body.begun() {
			return false
		}
		b.stats.retried(RetryDial)
	case body == nil && idempotent(out.Method):
		b.stats.retried(RetryBroken)
	default:
		return false
	}
	return true
}

func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// keptBody is a request's body that survives the Transport's closing it when a
// dial fails; the server closes the real one. It knows whether it was begun.
type keptBody struct {
	io.Reader
	read atomic.Bool // Transport reads in a goroutine of its own
}

func keepBody(r *http.Request) *keptBody {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	return &keptBody{Reader: r.Body}
}

// Read implements io.Reader.
func (k *keptBody) Read(p []byte) (int, error) {
	k.read.Store(true)
	return k.Reader.Read(p)
}

// Close does nothing.
func (k *keptBody) Close() error { return nil }

func (k *keptBody) begun() bool { return k != nil && k.read.Load() }
