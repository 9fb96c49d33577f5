package operators

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits of browser sessions.
const (
	browserIdle  = time.Hour      // without a request
	browserLife  = 12 * time.Hour // from the log-in on
	linkLife     = 10 * time.Minute
	maxBrowsers  = 64
	maxLinks     = 16
	maxForm      = 64 << 10 // bytes of a form that holds no file
	csrfField    = "csrf"
	csrfHeader   = "X-Csrf-Token"
	csrfLength   = 128 // at most
	cookiePrefix = "nodeserver-console-"
)

// Browsers are the browser sessions at an address for operators. Each stands for the token
// with which it was begun, and ends with it. They are kept in memory: a restart of the node
// ends them. Safe for concurrent use.
type Browsers struct {
	known func(hash) (Actor, bool) // who has a token; set by the guard

	mu    sync.Mutex
	byID  map[hash]*browser // by the hash of the cookie
	links map[hash]link     // by the hash of the code
}

type browser struct {
	token       hash
	csrf        string
	begun, used time.Time
}

type link struct {
	token hash
	until time.Time
}

// NewBrowsers makes an empty set, for the Config of one guard.
func NewBrowsers() *Browsers {
	return &Browsers{byID: map[hash]*browser{}, links: map[hash]link{}}
}

// Caller is whoever sends a request that a guard has let through.
type Caller struct {
	Actor Actor
	CSRF  string // what forms must send back as "csrf", first of all fields; empty: no browser session

	token hash
}

type callerKey struct{}

// CallerOf is who sends the request r. In a handler of a guard's route only.
func CallerOf(r *http.Request) Caller {
	c, _ := r.Context().Value(callerKey{}).(Caller)
	return c
}

// Link makes a code with which a browser can log in once, within 10 minutes, as the sender of
// the request r.
func (b *Browsers) Link(r *http.Request) string { return b.link(CallerOf(r).token) }

func (b *Browsers) link(token hash) string {
	code, now := rand.Text(), time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	var oldest hash
	for h, l := range b.links {
		if now.After(l.until) {
			delete(b.links, h)
		} else if oldest == (hash{}) || l.until.Before(b.links[oldest].until) {
			oldest = h
		}
	}
	if len(b.links) >= maxLinks {
		delete(b.links, oldest)
	}
	b.links[hashOf(code)] = link{token, now.Add(linkLife)}
	return code
}

var (
	errLink  = errors.New("this link is not valid: it can be used once, within 10 minutes; `nodeserver console` makes another")
	errToken = errors.New("this token is not known here: was it replaced, or is it another node's?")
)

// LogIn begins a browser session by the code of a link or, if that is empty, by a token, and
// sets its cookie. The session that the browser had before ends.
func (b *Browsers) LogIn(w http.ResponseWriter, r *http.Request, code, token string) (Actor, error) {
	h, err := hashOf(token), errToken
	if code != "" {
		err = errLink
		b.mu.Lock()
		l, ok := b.links[hashOf(code)]
		delete(b.links, hashOf(code))
		b.mu.Unlock()
		if !ok || time.Now().After(l.until) {
			return Actor{}, err
		}
		h = l.token
	}
	actor, ok := b.known(h)
	if !ok {
		return Actor{}, err
	}
	b.end(r)
	id, now := rand.Text(), time.Now()
	b.mu.Lock()
	b.makeRoom(now)
	b.byID[hashOf(id)] = &browser{token: h, csrf: rand.Text(), begun: now, used: now}
	b.mu.Unlock()
	setCookie(w, r, id, int(browserLife.Seconds()))
	return actor, nil
}

// makeRoom ends sessions that are over and, if need be, the one that was not used for longest.
func (b *Browsers) makeRoom(now time.Time) {
	var last hash
	for h, s := range b.byID {
		if s.over(now) {
			delete(b.byID, h)
		} else if last == (hash{}) || s.used.Before(b.byID[last].used) {
			last = h
		}
	}
	if len(b.byID) >= maxBrowsers {
		delete(b.byID, last)
	}
}

func (s *browser) over(now time.Time) bool {
	return now.Sub(s.used) > browserIdle || now.Sub(s.begun) > browserLife
}

// LogOut ends the browser's session.
func (b *Browsers) LogOut(w http.ResponseWriter, r *http.Request) {
	b.end(r)
	setCookie(w, r, "", -1)
}

func (b *Browsers) end(r *http.Request) {
	if c, err := r.Cookie(cookieName(r)); err == nil {
		b.mu.Lock()
		delete(b.byID, hashOf(c.Value))
		b.mu.Unlock()
	}
}

// caller is whose session the browser's cookie is of. False: of nobody's.
func (b *Browsers) caller(r *http.Request) (Caller, bool) {
	if b == nil {
		return Caller{}, false
	}
	c, err := r.Cookie(cookieName(r))
	if err != nil {
		return Caller{}, false
	}
	h, now := hashOf(c.Value), time.Now()
	b.mu.Lock()
	s := b.byID[h]
	if s != nil && s.over(now) {
		delete(b.byID, h)
		s = nil
	}
	if s == nil {
		b.mu.Unlock()
		return Caller{}, false
	}
	s.used = now
	token, csrf := s.token, s.csrf
	b.mu.Unlock()
	actor, ok := b.known(token)
	if !ok {
		b.end(r)
		return Caller{}, false
	}
	return Caller{Actor: actor, CSRF: csrf, token: token}, true
}

// cookieName has the port in it: cookies are of a host, and several nodes may be on one.
func cookieName(r *http.Request) string {
	_, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		return cookiePrefix + "80"
	}
	return cookiePrefix + port
}

func setCookie(w http.ResponseWriter, r *http.Request, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName(r), Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	})
}

// forged refuses a change that a browser sends with its cookie alone: a page from elsewhere
// could make it do that.
func (c Caller) forged(w http.ResponseWriter, r *http.Request, act *Act) *refusal {
	if c.CSRF == "" {
		return nil // a token in a header comes from no page
	}
	if r.Header.Get("Origin") == "" {
		return &refusal{http.StatusForbidden, "a browser that changes something says from which page (Origin)", ""}
	}
	got := r.Header.Get(csrfHeader)
	if got == "" {
		got = formToken(w, r, act)
	}
	if subtle.ConstantTimeCompare([]byte(got), []byte(c.CSRF)) != 1 {
		return &refusal{http.StatusForbidden, "this form is not of the present session: load the page again", ""}
	}
	return nil
}

// formToken is the field csrf of a form. Of one that may hold a file, it must be the first.
func formToken(w http.ResponseWriter, r *http.Request, act *Act) string {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "multipart/form-data" {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		return r.PostFormValue(csrfField)
	}
	form, err := r.MultipartReader()
	if err != nil {
		return ""
	}
	part, err := form.NextPart()
	if err != nil || part.FormName() != csrfField {
		return ""
	}
	text := make([]byte, csrfLength)
	n, _ := io.ReadFull(part, text) // it is shorter as a rule
	act.Form = form
	return string(text[:n])
}
