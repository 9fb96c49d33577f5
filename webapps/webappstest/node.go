package webappstest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/nodeserver/nodeserver/webapps"
	"github.com/nodeserver/nodeserver/webapps/codec"
)

// node is the webapps.Context of the app, and keeps its sessions.
type node struct {
	t       testing.TB
	app     webapps.App
	handler http.Handler
	log     *slog.Logger
	config  any
	done    chan struct{}

	mu        sync.Mutex
	sessions  map[string]*state // by cookie
	listeners []webapps.Listener
}

var (
	_ webapps.Context  = (*node)(nil)
	_ webapps.Sessions = (*node)(nil)
	_ webapps.Events   = (*node)(nil)
	_ webapps.Users    = (*node)(nil)
)

func newNode(tb testing.TB, app webapps.App) *node {
	tb.Helper()
	return &node{
		t: tb, app: app, log: slog.New(slog.NewTextHandler(testWriter{tb}, nil)), config: struct{}{},
		done: make(chan struct{}), sessions: map[string]*state{},
	}
}

func (n *node) Name() string { return n.app.Name }

func (n *node) Path() string {
	if n.app.Name == "root" {
		return "/"
	}
	return "/" + n.app.Name + "/"
}

func (n *node) Node() string          { return NodeName }
func (n *node) Logger() *slog.Logger  { return n.log }
func (n *node) Done() <-chan struct{} { return n.done }

func (n *node) Config(into any) error {
	b, err := json.Marshal(n.config)
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		err = d.Decode(into)
	}
	if err != nil {
		return fmt.Errorf("settings of app %s (webappstest.WithConfig): %w", n.app.Name, err)
	}
	return nil
}

// SessionCount implements webapps.Sessions.
func (n *node) SessionCount() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.sessions)
}

// NewSession implements webapps.Sessions.
func (n *node) NewSession() (*webapps.Session, error) { return &n.newSession().public, nil }

// Listen implements webapps.Events.
func (n *node) Listen(l webapps.Listener) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners = append(n.listeners, l)
}

// find returns the session that a cookie belongs to, or nil. It ends one that was unused
// for too long.
func (n *node) find(cookie string) *state {
	n.mu.Lock()
	st := n.sessions[cookie]
	n.mu.Unlock()
	if st != nil && st.expired() {
		n.end(st, webapps.Expired)
		return nil
	}
	return st
}

// rename makes a session known by a cookie, and no longer by the old one. An
// empty cookie is none.
func (n *node) rename(st *state, old, cookie string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.sessions, old)
	if cookie != "" {
		n.sessions[cookie] = st
	}
}

// end ends a session for good, and reports whether it was alive.
func (n *node) end(st *state, why webapps.Reason) bool {
	st.mu.Lock()
	ended := !st.dead
	if ended {
		st.dead = true
		n.rename(st, st.cookie, "")
	}
	st.mu.Unlock()
	if ended {
		n.tell(st, func(l webapps.Listener, e webapps.Event) {
			if l.Destroyed != nil {
				l.Destroyed(e, why)
			}
		})
	}
	return ended
}

// tell calls each listener for one event; a panic of one is logged, as a node does. No
// lock is held.
func (n *node) tell(st *state, f func(webapps.Listener, webapps.Event)) {
	n.mu.Lock()
	list := n.listeners
	n.mu.Unlock()
	e := webapps.NewEvent(n.app.Name, st.id, false, codec.Values{}, func(name string) []byte {
		st.mu.Lock()
		defer st.mu.Unlock()
		return st.values[name]
	})
	for _, l := range list {
		func() {
			defer func() {
				if p := recover(); p != nil {
					n.log.Error("listener panicked", "app", n.app.Name, "sid", st.id, "err", fmt.Sprint(p))
				}
			}()
			f(l, e)
		}()
	}
}

// serve runs the handler and commits, or answers a panic as a node does.
func (n *node) serve(w *httptest.ResponseRecorder, r *http.Request, v *visit) {
	defer v.release()
	defer func() {
		if p := recover(); p != nil {
			n.log.Error("handler panicked", "app", n.app.Name, "err", fmt.Sprint(p))
			*w = *httptest.NewRecorder()
			http.Error(w, "internal error", http.StatusInternalServerError)
			v.discard()
		}
	}()
	n.handler.ServeHTTP(&response{w, v}, r.WithContext(webapps.WithSource(r.Context(), v)))
	if err := v.commit(); err != nil && !v.head {
		refuse(w, err)
	}
}
