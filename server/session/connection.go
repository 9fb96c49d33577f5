package session

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"sync"
	"unsafe"

	"github.com/nodeserver/nodeserver/webapps"
)

// connection knows which request its HTTP/1 connection is at: there is one at a
// time. It stands in the context of all of them, so none needs a context and a
// copy of its own to carry its session.
//
// Behind a proxy, the next request is another user's. A goroutine that outlives
// its request must not get that one's session, so what asks has to show that it
// is the request being served, or made of it; in doubt, it gets none.
type connection struct {
	log    *slog.Logger
	remote netip.Addr // of whom is at the other end

	mu       sync.Mutex
	response *response // nil: between two requests
	request  *http.Request
	ctx      context.Context //nolint:containedctx // the request's: what it was before the app had it, like the next two
	header   http.Header
	uri      string
}

type connectionKey struct{}

// ConnContext is the http.Server.ConnContext of a listener for users. Its requests find
// their sessions without it, too, and cost more then. conn may be nil.
func ConnContext(log *slog.Logger) func(ctx context.Context, conn net.Conn) context.Context {
	return func(ctx context.Context, conn net.Conn) context.Context {
		c := &connection{log: log}
		if conn != nil {
			if addr, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
				c.remote = addr.AddrPort().Addr()
			}
		}
		return context.WithValue(webapps.WithSources(ctx, c), connectionKey{}, c)
	}
}

// begin makes r the request that is being served. It reports false where there
// may be others at the same time: with HTTP/2, or in a server that isn't ours.
func (w *response) begin(r *http.Request) (*connection, bool) {
	c, ok := r.Context().Value(connectionKey{}).(*connection)
	if !ok || r.ProtoMajor != 1 {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.response != nil {
		return nil, false
	}
	c.response, c.request, c.ctx, c.header, c.uri = w, r, r.Context(), r.Header, r.RequestURI
	return c, true
}

// end says that the request's handler has returned.
func (c *connection) end() {
	if c != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.response, c.request, c.ctx, c.header, c.uri = nil, nil, nil, nil, ""
	}
}

// SourceOf implements webapps.Sources.
func (c *connection) SourceOf(r *http.Request) webapps.Source {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.response == nil || !c.serves(r) {
		c.log.Error("a session was asked for by a request that is over or was made anew", "err", errNotServed)
		return noSource{}
	}
	return c.response.source(c.ctx, c.header)
}

// serves tells whether r is the request, or a copy: WithContext keeps the
// header, Clone keeps the text of the line that began the request, which net/http reads into
// memory of its own each time. Equal texts don't count, only the same one.
//
// unsafe compares two addresses here and reads nothing. A copy by Clone with a context
// derived from the request's has nothing else that is the request's own. The price of doing
// without is a context for each request, and a copy of it, whether it asks for a session or
// not: 3 allocations, 720 bytes, and 0.5 of the 26 µs that a request takes
// (BenchmarkPipelineWithoutSession: foreign_server pays it, pipeline does not).
func (c *connection) serves(r *http.Request) bool {
	return r == c.request || r.Context() == c.ctx ||
		r.Header != nil && reflect.ValueOf(r.Header).Pointer() == reflect.ValueOf(c.header).Pointer() ||
		c.uri != "" && len(r.RequestURI) == len(c.uri) && unsafe.StringData(r.RequestURI) == unsafe.StringData(c.uri)
}

var errNotServed = fmt.Errorf(
	"%w, or it was made anew instead of by WithContext or Clone: call SessionOf while the handler runs, with its request",
	webapps.ErrRequestOver,
)

// noSource is of requests that are over, or were made anew.
type noSource struct{}

// Session implements webapps.Source.
func (noSource) Session(create bool) (*webapps.Session, bool) {
	if !create {
		return nil, false
	}
	return webapps.NoSession("", errNotServed), true
}

// Discard implements webapps.Source: there is nothing.
func (noSource) Discard() {}
