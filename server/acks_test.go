package server

import (
	"net/http"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/webapps"
)

const unacked = "the change was made here and goes on replicating, but not enough other nodes have confirmed it in " +
	"time; it may be there when you try again\n"

// What a member that doesn't answer means for each mode.
func TestAcksBesideASlowMember(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		acks, onTimeout, path string
		status                int
		body, header          string
	}{
		{"async", "proceed", "inc", 200, "2", ""},
		{"all", "proceed", "inc", 200, "2", "0/1"},
		{"majority", "proceed", "inc", 200, "2", "0/1"},
		{"all", "fail", "inc", 503, unacked, "0/1"},
		{"one", "fail", "inc", 503, unacked, "0/1"},
		{"all", "fail", "get", 200, "1 <nil>", ""},
		{"async", "fail", "inc?acks=all", 503, unacked, "0/1"},
		{"all", "fail", "inc?acks=async", 200, "2", ""},
	} {
		t.Run(c.acks+" "+c.onTimeout+" "+c.path, func(t *testing.T) {
			t.Parallel()
			app := testApp()
			inner := app.New
			app.New = func(c webapps.Context) (http.Handler, error) {
				h, err := inner(c)
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if level, err := webapps.ParseAcks(r.FormValue("acks")); err == nil {
						webapps.SessionOf(r).Acks(level)
					}
					h.ServeHTTP(w, r)
				}), err
			}
			n1, n2, toN2 := pair(t, app, func(cfg *Config) {
				r := &cfg.Replication
				r.Acks, r.OnAckTimeout = config.Acks(c.acks), config.OnAckTimeout(c.onTimeout)
				r.AckTimeout = time.Second // the first write must be confirmed within it, on a busy machine, too
			})
			u := newUser(t)
			u.want(n1, "/test/inc", "1") // waits for n2: a new session does in every mode
			toN2.shut()
			status, body, h := u.get(n1, "/test/"+c.path)
			if status != c.status || body != c.body || h.Get("Nodeserver-Replicated") != c.header ||
				(h.Get("Retry-After") == "1") != (status == 503) ||
				h["Set-Cookie"] != nil {
				t.Errorf("%d %q %v", status, body, h)
			}
			toN2.open()
			after := "2 <nil>"
			if c.path == "get" {
				after = "1 <nil>"
			}
			u.want(n1, "/test/get", after)
			eventually(t, "it is at n2", func() bool { _, got, _ := u.get(n2, "/test/get"); return got == after })
		})
	}
}

func TestUnknownAckLevelIsABug(t *testing.T) {
	t.Parallel()
	n := steps{"bad": func(_ http.ResponseWriter, r *http.Request) { webapps.SessionOf(r).Acks(0) }}.alone(t)
	if status, _, _ := newUser(t).get(n, "/test/bad"); status != http.StatusInternalServerError {
		t.Errorf("status %d", status)
	}
}

func TestMaxInactiveOfOneSession(t *testing.T) {
	t.Parallel()
	cfg := testConf("n1")
	cfg.Sessions.MaxInactive = 10 * time.Second // the shorter, the more often it is looked for those that are over
	n := startNode(t, cfg, steps{"short": func(_ http.ResponseWriter, r *http.Request) {
		webapps.SessionOf(r).SetMaxInactive(300 * time.Millisecond)
	}}.app())
	n.waitReady()
	short, long := newUser(t), newUser(t)
	short.want(n, "/test/inc", "1")
	long.want(n, "/test/inc", "1")
	short.want(n, "/test/short", "")
	short.want(n, "/test/get", "1 <nil>")
	eventually(t, "one session has expired", func() bool { return n.server.manager().Stats().Sessions == 1 })
	short.want(n, "/test/get", "none")
	long.want(n, "/test/get", "1 <nil>")
}

// The absolute lifetime ends a session however busy it is.
func TestAbsoluteLifetime(t *testing.T) {
	t.Parallel()
	cfg := testConf("n1")
	cfg.Sessions.AbsoluteLifetime = 400 * time.Millisecond
	n := startNode(t, cfg, testApp())
	n.waitReady()
	u := newUser(t)
	u.want(n, "/test/inc", "1")
	begun := time.Now()
	eventually(t, "its end", func() bool { _, got, _ := u.get(n, "/test/get"); return got == "none" })
	if took := time.Since(begun); took < 350*time.Millisecond {
		t.Errorf("it lived for %v", took)
	}
}
