package server

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

// Limits, trusted proxies and the watch of the folder change while a node runs; everything else
// stays as it was.
func TestReloadOfLimits(t *testing.T) {
	t.Parallel()
	cfg := testConf("n1")
	cfg.Sessions.MaxSessions = 1
	n := startNode(t, cfg, testApp())
	n.waitReady()
	first := newUser(t)
	first.want(n, "/test/inc", "1")
	first.want(n, "/test/get", "1 <nil>") // else the next one would take its place
	if status, _, _ := newUser(t).get(n, "/test/inc"); status != http.StatusServiceUnavailable {
		t.Fatalf("a second session beyond sessions.max_sessions: %d", status)
	}
	now := cfg
	now.Sessions.MaxSessions, now.HTTP.MaxBodyBytes, now.HTTP.MaxConnections = 5, 4, 7
	now.HTTP.TrustedProxies, now.Webapps.Watch = []string{"192.0.2.0/24"}, !cfg.Webapps.Watch
	now.Sessions.CookieName = "OTHER"
	n.server.Reload(now)
	eventually(t, "a second session", func() bool {
		status, _, _ := newUser(t).get(n, "/test/inc")
		return status == http.StatusOK
	})
	first.want(n, "/test/inc", "2") // by the cookie of before
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/test/inc", http.NoBody)
	r.ContentLength = 5
	n.server.serve(w, r)
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a body beyond http.max_body_bytes: %d", w.Code)
	}
	if !n.server.trust.Has(netip.MustParseAddr("192.0.2.1")) || n.server.trust.Has(netip.MustParseAddr("127.0.0.1")) {
		t.Error("http.trusted_proxies stays as it was")
	}
}
