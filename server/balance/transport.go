package balance

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/channel/listen"
	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/internal/headers"
)

// dialTimeout bounds the wait for a machine that doesn't answer at all.
const dialTimeout = time.Second

// smallBody is up to how many bytes of a request's body are kept, so that it can
// be sent to another node.
const smallBody = 32 << 10

// dialError is any failure to make a connection: nothing was sent.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

// slowDial tells whether nobody has refused the connection: where the machine is that busy, be it
// this one, the node may be as well as before.
func slowDial(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial" && op.Timeout()
}

// errGone breaks off a wait for a node that the Source has given up.
var errGone = errors.New("the members say it is gone")

// errDoubt refuses a new connection to a node in doubt. Nothing was sent on it.
var errDoubt = errors.New("its connections broke off, and nobody knows yet whether it lives")

// errNext stands for an answer that no app gave: another node may be asked.
var errNext = errors.New("it is not ready")

// errBody says that the user has not sent the body that they announced.
var errBody = errors.New("read the request's body")

// errNobody says that there was no node left to try.
var errNobody = errors.New("no node left to try")

// errStranger says that what listens at a node's address is not that node.
var errStranger = errors.New("what answers at this address is not this incarnation of the node")

// errLeaves says that the node closes its connections.
var errLeaves = errors.New("it is about to stop, and ends this connection")

// greetTime bounds the wait for a process that has a connection but does not say
// who it is. It is long: a slow node is not a dead one.
const greetTime = 10 * time.Second

// newTransport makes connections that tell broke when the node ends them. While
// the node is in doubt there are no new ones: a process that is being killed
// keeps its listener for some milliseconds, and answers nobody any more. That
// includes the connection on which Transport itself tries again.
func newTransport(n *node, broke func(*node)) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if n.doubt.Load() != nil {
				return nil, errDoubt
			}
			c, err := n.connect(ctx, greetTime)
			if err != nil {
				return nil, &dialError{err}
			}
			return &conn{c, func() { broke(n) }}, nil
		},
		DisableCompression:    true, // bytes pass as they are
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		WriteBufferSize:       16 << 10,
		ReadBufferSize:        16 << 10,
	}
}

// connect makes a connection to the node, and has whoever answers prove to be
// this incarnation of it: the address is only what somebody has announced. A node
// whose incarnation isn't known is not asked.
func (n *node) connect(ctx context.Context, patience time.Duration) (net.Conn, error) {
	c, err := n.dial(ctx, patience)
	if err != nil || n.Incarnation == 0 {
		return c, err
	}
	if err = n.greet(ctx, c, patience); err != nil {
		_ = c.Close() // never used
		return nil, err
	}
	return c, nil
}

// dial makes a connection to whatever listens at the node's address. A node that speaks TLS must
// prove its name.
func (n *node) dial(ctx context.Context, patience time.Duration) (net.Conn, error) {
	c, err := n.dialer.DialContext(ctx, "tcp", n.Address)
	if err != nil || n.secure == nil {
		return c, err
	}
	cfg := n.secure
	if cfg.ServerName == "" {
		cfg = cfg.Clone()
		cfg.ServerName, _, _ = net.SplitHostPort(n.Address) // it was dialled
	}
	secure := tls.Client(c, cfg)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = c.Close() // never used
		return nil, fmt.Errorf("TLS to the node: %w", err)
	}
	return secure, nil
}

// greet asks for a sign of life, one that no app has to give. A connection alone
// would prove nothing: the kernel makes it.
func (n *node) greet(ctx context.Context, c net.Conn, patience time.Duration) error {
	_ = c.SetDeadline(time.Now().Add(patience))                                   // fails only on closed connections, as does what follows
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) }) // breaks the read off
	defer stop()
	if _, err := io.WriteString(c, "OPTIONS * HTTP/1.1\r\nHost: node\r\n\r\n"); err != nil {
		return err
	}
	in := bufio.NewReader(io.LimitReader(c, maxGreeting))
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	token := headers.IncarnationToken(membership.ID{Name: n.Name, Incarnation: n.Incarnation})
	if n.Incarnation != 0 &&
		(res.Header.Get(headers.Incarnation) != token || in.Buffered() > 0) {
		return errStranger
	}
	if res.Close {
		return errLeaves
	}
	if !stop() {
		return ctx.Err()
	}
	return c.SetDeadline(time.Time{})
}

// maxGreeting is how many bytes of such an answer are read.
const maxGreeting = 4 << 10

// conn is a connection to a node. A Transport always reads from it, also while
// no request is on its way, so an end is noticed when it comes.
type conn struct {
	net.Conn
	broke func() // the node ended it
}

// Read implements io.Reader.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		c.broke()
	}
	return n, err
}

// visit is one request of a user on its way through the balancer. Only the
// goroutine that serves it uses it, but for sent.
type visit struct {
	place                  // where it leads
	routes   []string      // from its cookies, in their order
	node     *node         // that answered; in flight there
	doubted  bool          // one was in doubt, and may still be asked if there is no other
	repeated bool          // a connection broke under it, and it was sent again
	retries  int           // how often it was sent on
	waited   time.Duration // for node
	release  func()        // ends the request to that node

	// sent tells whether the node that is asked now was sent the request's head.
	// Transport sends some requests again by itself, so its error tells of the last
	// try only, and not whether an earlier one has reached the node.
	sent  atomic.Bool
	trace httptrace.ClientTrace
}

// watched returns the request as the chooser wants it.
func (v *visit) watched(r *http.Request) *http.Request {
	v.trace.WroteHeaders = func() { v.sent.Store(true) }
	ctx := context.WithValue(r.Context(), visitKey{}, v)
	return r.WithContext(httptrace.WithClientTrace(ctx, &v.trace))
}

type visitKey struct{}

// chooser is the RoundTripper behind the proxy: it sends a request to the best
// node, and to others as long as that can do no harm.
type chooser struct{ b *Balancer }

// RoundTrip implements http.RoundTripper. The error wraps errNobody if every
// node was tried.
func (c chooser) RoundTrip(out *http.Request) (*http.Response, error) {
	v := out.Context().Value(visitKey{}).(*visit)
	body, err := keepBody(out)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBody, err)
	}
	var tried []*node
	last := errors.New("none is known")
	for {
		n, err := c.b.pool.take(v.path, v.routes, tried)
		if errors.Is(err, errFull) {
			n, err = c.b.pool.wait(out.Context(), v.path, tried, c.b.cfg.QueueTime)
		}
		if err != nil {
			return nil, err
		}
		if n == nil {
			return nil, fmt.Errorf("%w: %w", errNobody, last)
		}
		began := time.Now()
		v.sent.Store(false)
		res, release, err := c.b.try(n, out, body)
		if err == nil && (!mayAskNext(res) || !body.whole()) {
			v.node, v.release, v.waited = n, release, time.Since(began)
			c.b.metrics.answered(n.Name, res.StatusCode, v.waited)
			return res, nil
		}
		if err == nil {
			err = errNext
			drop(res)
		}
		release()
		if fault := body.broke(); fault != nil {
			return nil, fault // no node is at fault
		}
		if errors.Is(err, errDoubt) && !v.doubted {
			v.doubted = true
		} else {
			tried = append(tried, n)
		}
		last = fmt.Errorf("node %s: %w", n.Name, err)
		if !c.b.mayRetry(n, v, out, body, err) {
			return nil, last
		}
	}
}

// mayAskNext tells whether the answer is the node's own, given before any app
// has seen the request.
func mayAskNext(res *http.Response) bool {
	return res.StatusCode == http.StatusServiceUnavailable && res.Header.Get(headers.Retry) == "next"
}

// drop lets an answer go, and if it is short keeps its connection.
func drop(res *http.Response) {
	_, _ = io.CopyN(io.Discard, res.Body, 4<<10)
	_ = res.Body.Close()
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
	body.giveTo(to)
	n.verdict(ctx)
	if n.gone.Err() != nil {
		return nil, release, &dialError{errGone} // nothing was sent
	}
	// Only until the answer begins: what comes after may well come to its end.
	stop := context.AfterFunc(n.gone, func() { cancel(errGone) }) //nolint:contextcheck // the node's time, not the request's
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
func (b *Balancer) mayRetry(n *node, v *visit, out *http.Request, body *keptBody, err error) bool {
	if out.Context().Err() != nil {
		return false // the user has gone
	}
	own := listen.OwnLack(err)
	var dial *dialError
	switch {
	case !errors.As(err, &dial) || own:
	case slowDial(dial):
		b.broke(n)
	default:
		b.markDown(n, dial)
	}
	var reason string
	switch {
	case errors.Is(err, errNext):
		reason = RetryNext
	case v.sent.Load():
		reason = RetryBroken
	case own: // a port may be left, or a connection idle, to another node
		b.lacks.Warn(
			b.log, "the balancer lacks descriptors, ports or memory of its own; no node is at fault",
			"err", err, "descriptors", listen.Descriptors(),
		)
		reason = RetryOwn
	case dial != nil:
		reason = RetryDial
	case errors.Is(err, errDoubt):
		reason = RetryDoubt
	default:
		reason = RetryBroken
	}
	if reason == RetryBroken && !b.mayRepeat(v, out) || !body.whole() {
		return false
	}
	v.retries++
	b.stats.retried(reason)
	return true
}

// mayRepeat tells whether a request may be sent again whose connection broke when
// a node may have begun to carry it out: once, if it is idempotent and its path has not
// just broken nodes. What has ended one node must not end the next, and the next.
func (b *Balancer) mayRepeat(v *visit, out *http.Request) bool {
	path := suspectPath(out.URL.Path)
	switch {
	case v.repeated:
		b.stats.withheld(WithheldRepeated)
		if b.suspects.add(path, time.Now()) {
			b.log.Warn("a request broke two nodes; requests for its path are not repeated for a minute",
				"app", v.app, "method", out.Method, "path", path)
		}
		return false
	case !idempotent(out.Method):
		b.stats.withheld(WithheldMethod)
		return false
	case b.suspects.has(path, time.Now()):
		b.stats.withheld(WithheldPath)
		return false
	}
	v.repeated = true
	return true
}

func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// keptBody is a request's body that can be sent to several nodes: a small one as
// often as need be, any other as long as nothing was read of it. Nil is no body.
type keptBody struct {
	small []byte // all of it; nil for others
	rest  io.Reader
	read  atomic.Bool           // Transport reads in a goroutine of its own
	fault atomic.Pointer[error] // why the rest of it won't come
}

// keepBody waits for all of a small body, unless the user first wants to hear
// that they may send it.
func keepBody(r *http.Request) (*keptBody, error) {
	switch {
	case r.Body == nil || r.Body == http.NoBody:
		return nil, nil
	case r.ContentLength <= 0 || r.ContentLength > smallBody || r.Header.Get("Expect") != "":
		return &keptBody{rest: r.Body}, nil
	}
	small, err := readSmall(r.Body, int(r.ContentLength))
	return &keptBody{small: small}, err
}

// readSmall reads n bytes. It takes room for those that have come and as many again, since a user
// may announce them and send none.
func readSmall(from io.Reader, n int) ([]byte, error) {
	b := make([]byte, 0, min(n, 1<<10))
	for len(b) < n {
		if len(b) == cap(b) {
			b = slices.Grow(b, min(n-len(b), max(len(b), 1<<10)))
		}
		m, err := from.Read(b[len(b):min(cap(b), n)])
		b = b[:len(b)+m]
		switch {
		case len(b) == n:
		case errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
	}
	return b, nil
}

// giveTo makes it the body of a request to a node.
func (k *keptBody) giveTo(r *http.Request) {
	switch {
	case k == nil:
	case k.small == nil:
		r.Body = k
	default:
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(k.small)), nil }
		r.Body, _ = r.GetBody()
	}
}

// Read implements io.Reader.
func (k *keptBody) Read(p []byte) (int, error) {
	k.read.Store(true)
	n, err := k.rest.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		k.fault.CompareAndSwap(nil, &err)
	}
	return n, err
}

// broke is why the user's part of it won't come; nil: it may.
func (k *keptBody) broke() error {
	if k == nil || k.fault.Load() == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errBody, *k.fault.Load())
}

// Close does nothing: Transport closes bodies when a dial fails. The server
// closes the real one.
func (k *keptBody) Close() error { return nil }

// whole tells whether it can be sent, or sent again.
func (k *keptBody) whole() bool { return k == nil || k.small != nil || !k.read.Load() }
