package server

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/session"
	"github.com/nodeserver/nodeserver/webapps"
)

// pipeline is an app of a node that is ready, and a request on one of its connections.
func pipeline(tb testing.TB, change func(*Config), app webapps.App) (bare, *http.Request) {
	tb.Helper()
	cfg := testConf("n1")
	if change != nil {
		change(&cfg)
	}
	s := unstarted(tb, cfg, app)
	s.tick()
	return s, httptest.NewRequestWithContext(session.ConnContext(s.log)(tb.Context(), nil), http.MethodGet, "/test/", http.NoBody)
}

// A request that asks for no session costs no allocation: of the responses, 16
// are made at once, and a fraction rounds down.
func TestNoSessionCostsNothing(t *testing.T) {
	h := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }
	s, r := pipeline(t, nil, writesN(h))
	w := &nullWriter{h: http.Header{}}
	place := s.first()
	got := testing.AllocsPerRun(1000, func() {
		r.URL.Path = "/test/"
		clear(w.h)
		place.ServeHTTP(w, r)
	})
	if got != 0 || len(w.h) != 1 {
		t.Errorf("%v allocations, header %v", got, w.h)
	}
}

func BenchmarkPipelineWithoutSession(b *testing.B) {
	h := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }
	b.Run("bare", func(b *testing.B) {
		s, r := pipeline(b, nil, writesN(h))
		benchmarkHandler(b, s, http.HandlerFunc(h), r, "/test/")
	})
	b.Run("pipeline", func(b *testing.B) {
		s, r := pipeline(b, nil, writesN(h))
		benchmarkHandler(b, s, s.first(), r, "/test/")
	})
	b.Run("foreign_server", func(b *testing.B) { // or HTTP/2
		s, _ := pipeline(b, nil, writesN(h))
		benchmarkHandler(b, s, s.first(), httptest.NewRequest(http.MethodGet, "/test/", http.NoBody), "/test/")
	})
}

// BenchmarkPipelineWithSession reads, or reads and writes, a session that is there.
func BenchmarkPipelineWithSession(b *testing.B) {
	for _, freshness := range []config.Freshness{"off", "on"} {
		s, r := pipeline(b, func(c *Config) { c.Sessions.Freshness = freshness }, testApp())
		w := &nullWriter{h: http.Header{}}
		r.URL.Path = "/test/inc"
		s.first().ServeHTTP(w, r)
		cookie, _, _ := strings.Cut(w.h["Set-Cookie"][0], ";")
		r.Header.Set("Cookie", "other=1; "+cookie)
		b.Run("read/freshness="+string(freshness), func(b *testing.B) { benchmarkHandler(b, s, s.first(), r, "/test/get") })
		b.Run("write/freshness="+string(freshness), func(b *testing.B) { benchmarkHandler(b, s, s.first(), r, "/test/inc") })
	}
}

func benchmarkHandler(b *testing.B, s bare, h http.Handler, r *http.Request, path string) {
	b.Helper()
	b.ReportAllocs()
	w := &nullWriter{h: http.Header{}}
	for i := 0; b.Loop(); i++ {
		if i%1024 == 0 {
			s.tick()
		}
		r.URL.Path = path
		clear(w.h)
		h.ServeHTTP(w, r)
	}
	if w.h["Retry-After"] != nil {
		b.Error("the node is not ready")
	}
}
