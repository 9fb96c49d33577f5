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
	dropped bool         // nothing more is to be committed: Discard, or a panic that was recovered
	head    bool         // the answer's head has gone out, and with it the cookie
	cookie  *http.Cookie // for the user; nil: their own is right
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
func (v *visit) Session(create bool) (*webapps.Session, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over {
		v.node.t.Errorf(
			"webappstest: app %s: the session was asked for after the handler had returned: a node gives none (webapps.ErrRequestOver)",
			v.node.app.Name,
		)
		return webapps.NoSession(v.node.app.Name, webapps.ErrRequestOver), create
	}
	v.looked = true
	if v.session != nil && v.session.invalidated() {
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
	v.session.visit = v
	return &v.session.public, true
}

// Discard implements webapps.Source.
func (v *visit) Discard() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.dropped = true
}

func (v *visit) drops() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.dropped
}

func (v *visit) all() []*session {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.session == nil {
		return v.ended
	}
	return append(slices.Clip(v.ended), v.session)
}

// commit commits what was written, and settles the cookie. The error says that nothing was
// written, and that the answer is to say so.
func (v *visit) commit() error {
	if v.drops() {
		v.discard()
		return nil
	}
	for _, s := range v.all() {
		switch err := s.Commit(v.ctx); {
		case err == nil:
		case errors.Is(err, webapps.ErrGone): // ended by another request: the writes are void, the answer is not
		case s.lost(): // it has only read, and what it read was its user's
		default:
			return err
		}
	}
	v.settle()
	return nil
}

// settle finds the cookie for the user where their own no longer is right. Of what other
// requests have done to the session, their answers tell.
func (v *visit) settle() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.private = v.private || v.looked && !v.head
	cookie := v.sent
	if s := v.session; s != nil && !s.invalidated() {
		if now := s.cookie(); now != "" {
			cookie = now
		}
	} else {
		for _, s := range append(slices.Clip(v.ended), v.session) {
			if s != nil && s.now().isDead() {
				cookie = ""
			}
		}
	}
	if cookie == v.sent {
		return
	}
	if v.head {
		v.node.t.Errorf(
			"webappstest: app %s: the session was created, ended or given a new id after the first Flush: the user can't be told",
			v.node.app.Name,
		)
		return
	}
	v.cookie = &http.Cookie{Name: cookieName, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Value: cookie}
	if v.sent = cookie; cookie == "" {
		v.cookie.MaxAge = -1
	}
}

// discard drops what was not committed, and tells the user of what was.
func (v *visit) discard() {
	for _, s := range v.all() {
		s.discard()
	}
	v.settle()
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

// WriteHeader takes the status, and what it says of a panic.
func (w *response) WriteHeader(status int) {
	if status >= http.StatusInternalServerError && webapps.Recovering() {
		w.visit.Discard()
	}
	w.ResponseRecorder.WriteHeader(status)
}

// Flush implements http.Flusher.
func (w *response) Flush() {
	if !w.visit.head {
		if err := w.visit.commit(); err != nil {
			refuse(w.ResponseRecorder, err)
			w.ResponseRecorder = httptest.NewRecorder() // what the handler still writes, nobody gets
		}
		w.visit.head = true
	}
	w.ResponseRecorder.Flush()
}

// refuse answers in place of the handler, whose writes could not be committed.
func refuse(w *httptest.ResponseRecorder, err error) {
	status := http.StatusServiceUnavailable
	if errors.Is(err, webapps.ErrIDChanged) {
		status = http.StatusConflict
	}
	*w = *httptest.NewRecorder()
	http.Error(w, "nothing was saved: "+err.Error(), status)
}
