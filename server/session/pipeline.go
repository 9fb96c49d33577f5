package session

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/server/internal/headers"
	"github.com/nodeserver/nodeserver/webapps"
)

// Serve is the way of every request to the app's handler h: find the session when h
// asks for it, commit once h has returned, then let the answer go. The request's path
// begins with the app's; h sees it without. While the node still gets the sessions from
// the others, the answer is 503. Began is when the request did: Latencies count from there.
func (a *App) Serve(began time.Time, h http.Handler, w http.ResponseWriter, r *http.Request) {
	method, status := r.Method, http.StatusInternalServerError // where it panics
	defer func() { a.meter.observe(method, status, time.Since(began)) }()
	status = a.serve(h, w, r)
}

// serve is Serve, and returns the answer's status; 0: the handler has set none.
func (a *App) serve(h http.Handler, w http.ResponseWriter, r *http.Request) (status int) {
	if a.expose {
		w.Header()["Nodeserver-Node"] = a.exposed
	}
	if !a.manager.Ready() {
		w.Header()[headers.Retry] = headers.RetryNext
		refuse(w, deltamanager.ErrNotReady)
		return http.StatusServiceUnavailable
	}
	if most := a.maxBody.Load(); most > 0 && !a.admits(w, r, most) {
		return http.StatusRequestEntityTooLarge
	}
	x := a.responses.get()
	x.app, x.under = a, w
	r.URL.Path, r.URL.RawPath = a.within(
		r.URL.Path,
	), a.within(r.URL.RawPath) // the request is this pipeline's own: nobody looks at it any more
	c, ok := x.begin(r)
	defer func() {
		if p := recover(); p != nil {
			c.end()
			defer x.close()
			x.discard()
			status = http.StatusInternalServerError
			a.recovered(x, r, p)
		}
	}()
	if ok {
		h.ServeHTTP(x, r)
	} else {
		v := x.source(r.Context(), r.Header)
		v.shared = r.ProtoMajor != 1
		h.ServeHTTP(x, r.WithContext(webapps.WithSource(r.Context(), v)))
	}
	status = x.finish()
	c.end() // from here on nobody gets to a session by way of the request
	if v := x.visit.Swap(nil); v != nil {
		v.late()
	}
	return status
}

// within is a path as the app sees it: below its own.
func (a *App) within(path string) string { return path[min(len(a.path)-1, len(path)):] }

// admits tells whether the request's body is as short as it must be, as far as
// that can be known; where it can't, the reader of the body gets an error.
func (a *App) admits(w http.ResponseWriter, r *http.Request, most int64) bool {
	switch {
	case r.ContentLength > most:
		a.tooLong(w, r, most)
		return false
	case r.ContentLength < 0:
		r.Body = http.MaxBytesReader(w, r.Body, most)
	}
	return true
}

// tooLong answers instead of reading the body. Clients that are still sending
// may lose an answer whose connection is closed meanwhile (RFC 9112, part 9.6), so we
// look away for a moment.
func (a *App) tooLong(w http.ResponseWriter, r *http.Request, most int64) {
	w.Header().Set("Connection", "close")
	answer(
		w,
		fmt.Sprintf("the body is %d bytes long: this node takes %d (http.max_body_bytes)", r.ContentLength, most),
		http.StatusRequestEntityTooLarge,
	)
	c := http.NewResponseController(w)
	waiting := len(r.Header["Expect"]) > 0 // for us to ask for the body
	if c.Flush() == nil && !waiting && c.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.Copy(io.Discard, r.Body) // until its end or the deadline, which are the same to us
	}
}

const lingerTime = 500 * time.Millisecond

// source is the request's way to its session, made when it is first asked for.
func (w *response) source(ctx context.Context, header http.Header) *visit {
	if v := w.visit.Load(); v != nil {
		return v
	}
	w.visit.CompareAndSwap(nil, &visit{app: w.app, ctx: ctx, header: header})
	v := w.visit.Load()
	if v != nil && w.recovered.Load() {
		v.Discard()
	}
	return v
}

// recovered answers for a handler that panicked; its writes are discarded.
func (a *App) recovered(w *response, r *http.Request, p any) {
	if p == http.ErrAbortHandler { //nolint:errorlint // a sentinel to be passed on as it is
		panic(p)
	}
	var b [6]byte
	rand.Read(b[:])
	id := hex.EncodeToString(b[:])
	a.panics.Add(1)
	a.log.Error(
		"handler panicked", "error_id", id, "method", r.Method, "path",
		a.path+strings.TrimPrefix(r.URL.Path, "/"), "err", fmt.Sprint(p), "stack", string(debug.Stack()),
	)
	if !w.replace("the app failed on this request; nothing was saved (error "+id+")", http.StatusInternalServerError) {
		panic(http.ErrAbortHandler) // the answer can't be taken back: break it off, so that nobody takes it for whole
	}
}

// refuse answers for a request that the node can't serve, or whose commit
// failed: 503, so that a balancer or the user tries again. It returns the status.
func refuse(w http.ResponseWriter, err error) (status int) {
	if hasty, ok := errors.AsType[hastyError](err); ok {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(time.Duration(hasty).Seconds()))))
		answer(w, "too many new sessions from your address", http.StatusTooManyRequests)
		return http.StatusTooManyRequests
	}
	status = http.StatusServiceUnavailable
	if errors.Is(err, deltamanager.ErrMoved) {
		status = http.StatusConflict // this request as it came never succeeds
	}
	answer(w, whyRefused(err), status)
	return status
}

// hastyError is the error of a client whose address has begun as many sessions as it may, and after
// what time it may go on.
type hastyError time.Duration

func (hastyError) Error() string {
	return "this client's address has begun as many sessions a minute as it may (sessions.new_per_address)"
}

func whyRefused(err error) string {
	switch {
	case errors.Is(err, deltamanager.ErrNotReady):
		return "this node is not ready: it still gets the sessions from the others"
	case errors.Is(err, deltamanager.ErrUnacked):
		return "the change was made here and goes on replicating, but not enough other nodes have confirmed it in time; " +
			"it may be there when you try again"
	case errors.Is(err, errLeft):
		return errLeft.Error()
	case errors.Is(err, deltamanager.ErrMoved):
		return "another request has logged you in or out, or changed the session's id, while this one ran; " +
			"nothing of this one was saved: send it again"
	case errors.Is(err, deltamanager.ErrFull):
		return "this node holds as many sessions as it may"
	}
	return "the session could not be saved: " + err.Error()
}

// Decline answers 503 with the text for a request that no handler has seen: a balancer
// may send it to another node.
func Decline(w http.ResponseWriter, text string) {
	w.Header()[headers.Retry] = headers.RetryNext
	answer(w, text, http.StatusServiceUnavailable)
}

// Stopped answers 503 in the place of an app that an operator has stopped on all nodes.
func Stopped(w http.ResponseWriter, app string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Retry-After", "60")
	http.Error(w, "the app "+app+" is stopped by an operator", http.StatusServiceUnavailable)
}

// answer takes the place of the app's answer, of which only headers that are
// not about its body stay.
func answer(w http.ResponseWriter, text string, status int) {
	h := w.Header()
	for _, name := range ofBody {
		h.Del(name)
	}
	h.Set("Cache-Control", "no-store")
	if status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
	http.Error(w, text, status)
}

var ofBody = []string{
	"Content-Length", "Content-Encoding", "Content-Range", "Content-Language", "Content-Disposition", "Content-Location",
	"Accept-Ranges", "Etag", "Expires", "Last-Modified", "Location", "Trailer", "Transfer-Encoding",
}

// visit is one request's way to its session: a webapps.Source. It looks for one
// only when asked to, so a request that touches none costs nothing. Its lock is taken
// after its response's, never before.
type visit struct {
	app    *App
	ctx    context.Context //nolint:containedctx // the request's, as is the header
	header http.Header

	mu      sync.Mutex
	looked  bool
	route   string               // of the cookie that belongs to a session
	tokens  []deltamanager.Token // of the user: what they have seen
	current *session             // nil: none, or invalidated by this request
	all     []*session           // several if the request has ended some
	none    error                // why no session could be made
	failed  bool                 // a commit wrote nothing, and the answer says so
	over    bool                 // the handler has returned
	dropped atomic.Bool          // the app, or a panic, has said that nothing more is to be committed
	shared  bool                 // there are other requests on its connection; set before the handler runs

	first struct { // what most requests need, without an allocation of its own
		session session
		all     [1]*session
		tokens  [2]deltamanager.Token
	}
}

// Session implements webapps.Source.
func (v *visit) Session(create bool) (*webapps.Session, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over {
		return noSource{}.Session(create)
	}
	if !v.looked {
		v.looked = true
		v.look()
	}
	if v.current != nil && v.current.view.Invalidated() {
		if !create {
			return nil, false
		}
		v.current = nil
	}
	if v.current == nil {
		if !create {
			return nil, false
		}
		if v.none = v.create(); v.none != nil {
			return webapps.NoSession(v.app.name, v.none), true
		}
	}
	return &v.current.public, true
}

// look finds the session of the request's cookie: of several, the first that is
// one of ours.
func (v *visit) look() {
	var few [maxIDs]string
	ids := few[:0]
	v.tokens = v.first.tokens[:0]
	wanted := v.cookies().name
	eachCookie(v.header, func(name, value string) {
		if name == wanted {
			if len(ids) < maxIDs {
				ids = append(ids, value)
			}
			return
		}
		v.addToken(name, value)
	})
	for _, value := range ids {
		id, route, ok := splitID(value)
		if !ok {
			continue
		}
		view, ok := v.app.manager.OpenCaughtUp(v.ctx, cookieHash(id), v.tokens, v)
		if !ok {
			continue
		}
		if view.Stale() {
			v.app.stale.Add(1)
		}
		v.route = route
		v.begin(view, id).sent = id
		return
	}
}

// addToken takes note of the cookie if it is a token, as long as there are not too many.
func (v *visit) addToken(name, value string) {
	if t, ok := parseToken(name, value); ok && v.app.freshness && len(v.tokens) < maxTokens {
		v.tokens = append(v.tokens, t)
	}
}

// maxIDs is how many session cookies of one request are tried: one per path
// that may lead here, and some that somebody planted.
const maxIDs = 8

func (v *visit) create() error {
	if v.none != nil {
		return v.none
	}
	if addr, ok := v.client(); ok {
		if wait := v.app.newRate.Load().take(addr, time.Now()); wait > 0 {
			v.app.hasty.Add(1)
			return public(fmt.Errorf("new session: %w", hastyError(wait)))
		}
	}
	id := newID()
	view, err := v.app.manager.Create(cookieHash(id))
	if err != nil {
		if errors.Is(err, deltamanager.ErrFull) {
			v.app.refused.Add(1)
		}
		return public(fmt.Errorf("new session: %w", err))
	}
	v.begin(view, id)
	return nil
}

// begin makes the view the request's session.
func (v *visit) begin(view *deltamanager.View, id string) *session {
	s := &v.first.session
	if v.all == nil {
		v.all = v.first.all[:0]
	} else {
		s = new(session)
	}
	s.public, s.visit, s.view, s.id = webapps.MakeSession(s), v, view, id
	v.current, v.all = s, append(v.all, s)
	return s
}

// commit settles sessions and cookie. It is called once, before the first byte.
func (v *visit) commit(h http.Header) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	var unacked error
	for _, s := range v.all {
		if v.dropped.Load() {
			s.view.Discard()
			continue
		}
		if v.shared && s.view.Creates() {
			yield()
		}
		result, err := s.commit(v.ctx)
		switch {
		case deltamanager.Gone(err):
			// Invalidated or expired elsewhere while this request ran: its writes
			// are void, its answer is not.
			s.gone = true
			v.app.lost.Add(1)
		case errors.Is(err, deltamanager.ErrMoved) && !s.view.Pending():
			s.gone = true // it has only read, and what it read was its user's
		case errors.Is(err, deltamanager.ErrUnacked):
			unacked = err
		case err != nil:
			v.failed = true
			if errors.Is(err, deltamanager.ErrFull) {
				v.app.refused.Add(1)
			}
			return err
		}
		if result.Applied < result.Need || result.Final {
			h.Set("Nodeserver-Replicated", fmt.Sprintf("%d/%d", result.Applied, result.Need))
		}
	}
	if v.looked {
		v.app.keepPrivate(h)
	}
	v.settleCookie(h)
	if v.none != nil {
		return v.none // the answer says so, whatever the handler makes of it
	}
	if s := v.current; s != nil && v.app.freshness && !s.gone {
		v.setTokens(h, s.view.Tokens())
	}
	return unacked
}

// yield lets the connection's goroutines run, which may know already that the client has
// reset this very request: a flood of those must not make sessions.
func yield() {
	for range 3 { // for the frame to be read, handed on, and heeded
		runtime.Gosched()
	}
}

// settleCookie sends a cookie where the user's own no longer is right. Of what
// other requests have done to the session meanwhile, their answers tell: a
// cookie from here could replace theirs.
func (v *visit) settleCookie(h http.Header) {
	if s := v.current; s != nil && !s.view.Invalidated() {
		moved := s.sent != "" && v.route != v.app.node &&
			!v.app.members.Serves(v.app.name, v.route) // its node is gone, or about to go: stay here from now on
		if s.gone || s.newest() == s.sent && !moved {
			return
		}
		if id := s.valid(); id != "" && (id != s.sent || moved) {
			v.setCookie(h, id)
			s.sent = id
		}
		return
	}
	for _, s := range v.all {
		if s.sent != "" && s.view.Invalidated() && (s.gone || !s.view.Pending()) {
			v.setCookie(h, "")
		}
	}
}

// late commits what the handler wrote after the answer's head had gone out.
func (v *visit) late() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.over = true
	for _, s := range v.all {
		if s.view.Pending() && !v.failed && !v.dropped.Load() {
			if _, err := s.commit(
				v.ctx,
			); err != nil && !deltamanager.Gone(err) && !errors.Is(err, deltamanager.ErrMoved) &&
				!errors.Is(err, errLeft) {
				v.app.log.Warn("late write not committed", "sid", s.ID(), "err", err)
			}
		}
		s.view.Discard() // what could not be committed, and the lock of an Update that wrote nothing
		if s.newest() != s.sent && !s.view.Invalidated() {
			if id := s.valid(); id != "" && id != s.sent {
				v.app.log.Warn(
					"session created or its id changed after the answer's head was sent: the user can't get the cookie",
					"sid",
					s.ID(),
				)
			}
		}
	}
}

// Discard implements webapps.Source.
func (v *visit) Discard() { v.dropped.Store(true) }

// discard drops what was not committed.
func (v *visit) discard() {
	v.over = true
	for _, s := range v.all {
		s.view.Discard()
	}
}

var _ webapps.Source = (*visit)(nil)
