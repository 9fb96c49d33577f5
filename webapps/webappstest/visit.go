package webappstest

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"

	"github.com/nodeserver/nodeserver/webapps"
)

// visit is the session source of one request.
type visit struct {
	node *node
	ctx  context.Context //nolint:containedctx // the request's

	mu      sync.Mutex
	start   *state       // the user's session when the request came, or nil
	sent    string       // the cookie that the user has
	session *session     // nil until asked for
	ended   []*session   // those the handler invalidated before
	looked  bool         // the session was asked for
	private bool         // so it was before the head went out
	over    bool         // the handler has returned
	head    bool         // the answer's head has gone out, and with it the cookie
	cookie  *http.Cookie // for the user; nil: his own is right
}

func newVisit(n *node, r *http.Request) *visit {
	v := &visit{node: n, ctx: context.WithoutCancel(r.Context())}
	for _, k := range r.CookiesNamed(cookieName) {
		if st := n.find(k.Value); st != nil && v.start == nil {
			v.start, v.sent = st, k.Value
		}
	}
	return v
}

// Session implements webapps.Source. After Invalidate there is none until one
// is created anew.
func (v *visit) Session(create bool) (webapps.Session, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over {
		v.node.t.Errorf("webappstest: app %s: the session was asked for after the handler had returned: a node gives none (webapps.ErrRequestOver)", v.node.app.Name)
		return v.node.newSession(), create
	}
	v.looked = true
	if v.session != nil && v.session.ended() {
		v.ended, v.session, v.start = append(v.ended, v.session), nil, nil
	}
	if v.session == nil && v.start != nil && !v.start.isDead() {
		v.session = v.node.session(v.start)
	}
	if v.session == nil && create {
		v.session = v.node.newSession()
	}
	if v.session == nil {
		return nil, false
	}
	return v.session, true
}

func (v *visit) all() []*session {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.session == nil {
		return v.ended
	}
	return append(slices.Clip(v.ended), v.session)
}

// commit commits what was written, and settles the cookie. The error says that
// another request has changed the session's id.
func (v *visit) commit() error {
	moved := false
	for _, s := range v.all() {
		err := s.Commit(v.ctx) // of a session that was ended elsewhere the writes are void, the answer is not
		if errors.Is(err, webapps.ErrIDChanged) {
			return err
		}
		moved = moved || s.movedAway()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.private = v.private || v.looked && !v.head
	k := &http.Cookie{Name: cookieName, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
	cookie, known := "", v.sent != ""
	if v.session != nil {
		cookie, known = v.session.cookie(), true
	}
	switch {
	case !known && len(v.ended) == 0, v.session == nil && len(v.ended) == 0, cookie == v.sent, moved:
		return nil
	case v.head:
		v.node.t.Errorf("webappstest: app %s: the session was created, ended or given a new id after the first Flush: the user can't be told", v.node.app.Name)
		return nil
	case cookie == "":
		k.MaxAge = -1
	default:
		k.Value = cookie
	}
	v.cookie, v.sent = k, cookie
	return nil
}

// release ends the request, and lets go of what Update holds.
func (v *visit) release() {
	v.mu.Lock()
	v.over = true
	v.mu.Unlock()
	for _, s := range v.all() {
		s.release()
	}
}

// keepPrivate tells caches that the answer is for the user's cookie, as a node does.
func keepPrivate(h http.Header) {
	if len(h["Cache-Control"]) == 0 {
		h.Set("Cache-Control", "private")
	}
	for name := range strings.SplitSeq(strings.Join(h["Vary"], ","), ",") {
		if name = strings.TrimSpace(name); name == "*" || strings.EqualFold(name, "Cookie") {
			return
		}
	}
	h.Add("Vary", "Cookie")
}

// response commits at the first flush, as a node does.
type response struct {
	*httptest.ResponseRecorder
	visit *visit
}

// Flush implements http.Flusher.
func (w *response) Flush() {
	if !w.visit.head {
		_ = w.visit.commit() // the handler's next call for the session has the error
		w.visit.head = true
	}
	w.ResponseRecorder.Flush()
}
