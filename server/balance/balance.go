package balance

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/channel/listen"
	"github.com/nodeserver/nodeserver/server/cluster"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/forward"
	"github.com/nodeserver/nodeserver/server/internal/accesslog"
	"github.com/nodeserver/nodeserver/server/internal/drain"
	"github.com/nodeserver/nodeserver/server/internal/headers"
	"github.com/nodeserver/nodeserver/server/internal/lively"
	"github.com/nodeserver/nodeserver/server/internal/proxied"
	"github.com/nodeserver/nodeserver/server/operators"
)

// quietTime is for connections that are made and not accepted yet, when Run ends.
const quietTime = time.Second

// descriptorsEach is for how many descriptors there is one connection of a user: it may
// need one to a node, and some are left for operators and members.
const descriptorsEach = 3

// Config is the configuration of a Balancer.
type Config struct {
	CookieName     string        // of session cookies; default NSESSIONID
	HealthInterval time.Duration // between probes of nodes that are down; default 250 ms
	DrainNotice    time.Duration // how long Run, when it is to end, serves on and says so; default none
	ShutdownGrace  time.Duration // for requests in flight when Run ends; default 5 s
	Domain         string        // whose nodes are preferred
	ListApps       bool          // at "/", unless an app is served there
	NodeRequests   int           // in flight at a node, at most; 0: no limit
	QueueTime      time.Duration // for which a request waits when all nodes have as many; 0: it is refused at once
	SlowStart      time.Duration // for which a node that has become ready gets fewer new users; 0: none
	Dialer         *net.Dialer   // of connections to nodes; default: to any address, within 1 s

	// TLS is that of users; nil: they speak HTTP. NodesTLS is for nodes that speak it; without
	// a ServerName, they prove the host of their address. Default: the system's CAs.
	TLS, NodesTLS *tls.Config

	// HTTP bounds what users can hold open, as on a node: connections, by default one for
	// three descriptors, the size of a request's head, and times. Its other fields
	// mean nothing here.
	HTTP config.HTTP

	// Access is where HTTP.AccessLog writes; default: stdout.
	Access io.Writer

	// Trust says which proxies in front of it are believed; default: none.
	Trust forward.Trust

	// Operators says who may look; default: all who reach the address for them.
	Operators operators.Config

	// RedirectPort is that of HTTPS, as users see it; default: that of the listener.
	RedirectPort int
}

func (c Config) withDefaults() Config {
	if c.CookieName == "" {
		c.CookieName = "NSESSIONID"
	}
	if c.HealthInterval <= 0 {
		c.HealthInterval = 250 * time.Millisecond
	}
	if c.ShutdownGrace <= 0 {
		c.ShutdownGrace = 5 * time.Second
	}
	if c.HTTP.ReadHeaderTimeout <= 0 {
		c.HTTP.ReadHeaderTimeout = 10 * time.Second
	}
	if c.HTTP.IdleTimeout <= 0 {
		c.HTTP.IdleTimeout = 2 * time.Minute
	}
	if c.NodesTLS == nil {
		c.NodesTLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if c.Access == nil {
		c.Access = os.Stdout
	}
	if c.Dialer == nil {
		c.Dialer = &net.Dialer{Timeout: dialTimeout}
	}
	return c
}

// Balancer sends users to the nodes, each user to their own. It is an http.Handler that answers 503 until Run
// has got a first list of nodes. Its methods are safe for concurrent use.
type Balancer struct {
	cfg    Config
	source Source
	log    *slog.Logger
	proxy  *httputil.ReverseProxy
	pool   *pool
	stats  *stats
	ask    chan *node // in doubt
	access *accesslog.Log

	proof    *cluster.Proof // of membership; nil: none is needed
	redirect net.Listener   // of users who are sent to HTTPS; nil: none
	tracer   Tracer         // nil: no traces

	suspects suspects
	lacks    cluster.Seldom
	drain    drain.Drain

	metrics  *metrics
	admin    http.Handler
	adminTLS *tls.Config // nil: HTTP
	bounds   atomic.Pointer[map[string]*listen.Listener]
}

var _ http.Handler = (*Balancer)(nil)

// New returns a balancer to the nodes of the source. It starts nothing. The error names what is wrong
// with the tokens of operators.
func New(cfg Config, source Source, log *slog.Logger) (*Balancer, error) {
	b := &Balancer{cfg: cfg.withDefaults(), source: source, log: log, stats: newStats(), ask: make(chan *node, 64)}
	b.pool = newPool(b.broke, b.cfg)
	b.access = accesslog.New(b.cfg.HTTP.AccessLog, b.cfg.Access)
	b.metrics = newMetrics(b)
	var err error
	if b.admin, err = operators.New(b.cfg.Operators, log, b.routes()); err != nil {
		return nil, err
	}
	b.proxy = &httputil.ReverseProxy{
		Rewrite:   rewrite,
		Transport: chooser{b},
		ModifyResponse: func(r *http.Response) error {
			r.Header.Del(headers.Retry) // it was meant for us
			return nil
		},
		ErrorHandler: b.answerError,
		ErrorLog:     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BufferPool:   &buffers{},
	}
	return b, nil
}

// Listen opens a listener of the balancer, for which the conf has the key. The
// error says what to do about a port that is taken.
func Listen(ctx context.Context, key, addr string) (net.Listener, error) {
	ln, err := listen.TCP(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, cluster.ListenError(addr, err))
	}
	return ln, nil
}

// Run serves users at ln, and operators at admin unless that is nil, until ctx
// ends; then it says so for Config.DrainNotice and waits for requests in flight, at most Config.ShutdownGrace, and
// returns nil. It returns earlier with the error of a listener or of the source.
// It closes the listeners. To be called once.
func (b *Balancer) Run(ctx context.Context, ln, admin net.Listener) error {
	told := ctx
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	srv := b.usersServer()
	cluster.WarnOfFew(b.log)
	bounds := map[string]*listen.Listener{"http": listen.New(ln, cluster.ForUsers(b.cfg.HTTP, listen.Descriptors()/descriptorsEach, b.log))}
	if admin != nil {
		bounds["admin"] = listen.New(admin, cluster.ForAdmin(b.cfg.HTTP, b.log))
	}
	if b.redirect != nil {
		bounds["redirect"] = listen.New(b.redirect, cluster.ForUsers(b.cfg.HTTP, listen.Descriptors()/descriptorsEach, b.log))
	}
	b.bounds.Store(&bounds)
	var parts sync.WaitGroup
	end := func(err error) {
		if err != nil && ctx.Err() == nil {
			stop(err)
		}
	}
	b.drain.Of(srv)
	requests, over := context.WithCancel(context.WithoutCancel(ctx)) // they go on for the notice and the grace
	defer over()
	parts.Go(func() { end(b.source.Run(requests, b.update)) })
	parts.Go(func() { b.watchOver(requests) })
	parts.Go(func() { b.settleDoubts(requests) })
	if b.proof != nil {
		parts.Go(func() { b.proof.Follow(requests) })
	}
	users := proxied.New(bounds["http"], b.cfg.HTTP, b.cfg.Trust, b.log)
	parts.Go(func() { end(lively.Serve(srv, users)) })
	ops := operators.Server(b.admin, b.adminTLS, srv.ErrorLog)
	if admin != nil {
		parts.Go(func() { end(lively.Serve(ops, bounds["admin"])) })
	}
	plain := b.plainServer(srv, ln.Addr())
	if b.redirect != nil {
		parts.Go(func() { end(plain.Serve(bounds["redirect"])) })
	}

	<-ctx.Done()
	if told.Err() != nil {
		b.drain.Begin()
		b.drain.Wait(requests, b.cfg.DrainNotice)
	}
	b.drain.Quiet(users, quietTime)
	b.shutdown(srv)
	over()
	_ = errors.Join(ops.Close(), plain.Close()) // nobody reads of it any more
	parts.Wait()
	b.pool.update(nil)
	if b.tracer != nil {
		if err := b.tracer.Stop(); err != nil {
			b.log.Warn("the last traces could not be sent", "err", err)
		}
	}
	if told.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

func (b *Balancer) shutdown(srv *http.Server) {
	grace, cancel := context.WithTimeout(context.Background(), b.cfg.ShutdownGrace)
	defer cancel()
	if srv.Shutdown(grace) != nil {
		_ = srv.Close() // grace is over: what still runs is cut
	}
}

// ServeHTTP sends the request to a node.
func (b *Balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.stats.request()
	b.cfg.Trust.Apply(r)
	switch {
	case r.URL.Path == headers.ReadyPath:
		b.answerProbe(w)
		return
	case r.URL.Path == "" && r.Method != http.MethodConnect:
		r.URL.Path = "/"
	case !strings.HasPrefix(r.URL.Path, "/"):
		w.Header().Set("Connection", "close") // what follows may be meant for the tunnel
		http.Error(w, "400: the balancer takes requests for paths, and makes no tunnels.", http.StatusBadRequest)
		return
	}
	v := &visit{place: b.pool.place(r.URL.Path), routes: routes(r, b.cfg.CookieName)}
	id := forward.RequestID(r.Header)
	if b.access != nil {
		var line *accesslog.Line
		line, w = b.access.Begin(w, r)
		defer func() {
			line.ID, line.Retries, line.Waited = id, v.retries, v.waited
			if v.node != nil {
				line.Node = v.node.Name
			}
			line.End()
		}()
	}
	if !v.there && !v.blind {
		b.answerAlone(w, r, v.place)
		return
	}
	defer func() { // also when the proxy panics because a response broke off
		if v.node != nil {
			if b.tracer != nil {
				b.tracer.Sent(r, v.node.Name, v.retries)
			}
			v.release()
			b.noteMove(v)
		}
	}()
	b.proxy.ServeHTTP(w, v.watched(r))
}

// rewrite tells the node what the user's request was like. Host stays the user's.
func rewrite(r *httputil.ProxyRequest) {
	r.SetXForwarded()
	r.Out.Trailer = r.In.Trailer              // which is filled when the body has been read
	forward.KeepID(r.Out.Header, r.In.Header) // the user may have named it as a header of the connection
	if r.In.TLS != nil {                      // says forward.Trust, too, for a proxy in front
		r.Out.Header.Set("X-Forwarded-Proto", "https")
	}
}

// routes are the nodes that session cookies name, in their order: there is one
// cookie per path of an app. That of the path "/" may carry a prefix, and as the
// shortest path comes last.
func routes(r *http.Request, cookie string) (list []string) {
	for _, name := range []string{cookie, "__Host-" + cookie} {
		for _, c := range r.CookiesNamed(name) {
			if i := strings.LastIndexByte(c.Value, '.'); i >= 0 {
				list = append(list, c.Value[i+1:])
			}
		}
	}
	return list
}

// answerError answers a request that no node did.
func (b *Balancer) answerError(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil && !errors.Is(err, errBody) {
		panic(http.ErrAbortHandler) // nobody reads an answer, and the server would make one up
	}
	b.stats.failed()
	b.log.Debug("request not answered by a node", "err", err)
	w.Header().Set("Cache-Control", "no-store")
	status, text := http.StatusBadGateway, "502: the node broke off before it answered. It may have carried the request out, "+
		"so the balancer does not send it to another; look before you send it again."
	switch {
	case listen.OwnLack(err):
		w.Header().Set("Retry-After", "1")
		status, text = http.StatusServiceUnavailable, "503: the balancer has too much to do, and can't reach a node at the moment."
	case errors.Is(err, errFull):
		b.stats.full()
		w.Header().Set("Retry-After", "1")
		status, text = http.StatusServiceUnavailable, "503: the nodes have as many requests as they may at the moment."
	case errors.Is(err, errNobody):
		w.Header().Set("Retry-After", "1")
		status, text = http.StatusServiceUnavailable, "503: no node of the cluster is ready to serve. The balancer goes on trying; "+
			"`nodeserver members` on a node tells its state."
	case errors.Is(err, errBody) && errors.Is(err, os.ErrDeadlineExceeded):
		status, text = http.StatusRequestTimeout, "408: the request's body did not come in time."
	case errors.Is(err, errBody):
		status, text = http.StatusBadRequest, "400: the request's body broke off, or is not in the form that HTTP has for it."
	}
	b.metrics.answered("", status, 0)
	http.Error(w, text, status)
}

// buffers lends the proxy its copy buffers.
type buffers struct{ pool sync.Pool }

// Get implements httputil.BufferPool.
func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, 32<<10)
}

// Put implements httputil.BufferPool.
func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
