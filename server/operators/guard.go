package operators

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/server/cluster"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/keys"
)

// Route is one thing that operators may ask for or have done.
type Route struct {
	Method  string // GET looks; any other changes, and wants the role Operator
	Path    string // as a pattern of http.ServeMux
	Role    Role   // who may call it
	Action  string // of a change: its name in the audit log
	Handler http.HandlerFunc

	// Own: it concerns the sender's browser alone, like a log-in. No token is asked for; Host
	// and Origin are.
	Own bool
	// Refused answers a request that may not go on, as a page; nil: as text.
	Refused func(w http.ResponseWriter, r *http.Request, status int, reason string)
}

// Config says who may call, and by which names the address is known.
type Config struct {
	Admin      config.Admin
	SecretFile string    // the cluster's secret, which must be no token; empty: none
	Names      []string  // hosts by which requests may come, besides Admin's
	Browsers   *Browsers // sessions of browsers; nil: there are none
}

// Guard is the way to the routes of an address for operators. Its methods are safe for
// concurrent use.
type Guard struct {
	log    *slog.Logger
	hosts  []string // in lower case
	table  []Route
	open   bool // the conf names no token: who reaches the address may look
	routes *http.ServeMux
	paths  *http.ServeMux // the same without methods: which paths there are at all
	allow  map[string][]string

	cfg    Config
	mu     sync.RWMutex
	tokens map[hash]Actor

	looking sync.Mutex
	file    string // state of the tokens file when it was last read; guarded by looking

	refusals cluster.Seldom
}

// New makes the guard of these routes, and reads the tokens that the conf names.
func New(c Config, log *slog.Logger, routes []Route) (*Guard, error) {
	seen := keys.State(c.Admin.TokensFile) // before it is read: a change meanwhile is seen later
	tokens, err := readTokens(c.Admin, c.SecretFile)
	if err != nil {
		return nil, err
	}
	g := &Guard{
		log: log, hosts: hosts(c), table: routes, open: c.Admin.TokenFile == "" && c.Admin.TokensFile == "",
		routes: http.NewServeMux(), paths: http.NewServeMux(), allow: map[string][]string{}, tokens: tokens, cfg: c,
	}
	g.file = seen
	if c.Browsers != nil {
		c.Browsers.known = g.known
	}
	for _, r := range routes {
		if r.Method != http.MethodGet && !r.Own && (r.Role != Operator || r.Action == "") {
			return nil, fmt.Errorf("%s %s changes something: it needs the role operator, and an action for the audit log", r.Method, r.Path)
		}
		g.routes.HandleFunc(r.Method+" "+r.Path, func(w http.ResponseWriter, q *http.Request) { g.serve(r, w, q) })
		if g.allow[r.Path] == nil {
			g.paths.HandleFunc(r.Path, http.NotFound)
		}
		g.allow[r.Path] = append(g.allow[r.Path], r.Method)
	}
	g.routes.HandleFunc("/", g.other)
	return g, nil
}

// hosts are the names by which requests may come, besides addresses: nobody can make a name
// of theirs lead here and have a browser send one of these.
func hosts(c Config) []string {
	names := append([]string{"localhost"}, c.Names...)
	names = append(names, c.Admin.Hosts...)
	if name, err := os.Hostname(); err == nil {
		names = append(names, name)
	}
	if host, _, err := net.SplitHostPort(c.Admin.Address); err == nil {
		names = append(names, host)
	}
	for i, n := range names {
		names[i] = strings.ToLower(n)
	}
	return slices.DeleteFunc(names, func(n string) bool { return n == "" })
}

var _ http.Handler = (*Guard)(nil)

// ServeHTTP implements http.Handler.
func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.routes.ServeHTTP(w, r) }

// Limits of connections that send nothing.
const (
	headTime = 5 * time.Second // for a request's head
	idleTime = 2 * time.Minute // between requests
)

// Server serves operators; secure is nil for HTTP.
func Server(h http.Handler, secure *tls.Config, errors *log.Logger) *http.Server {
	return &http.Server{Handler: h, TLSConfig: secure, ReadHeaderTimeout: headTime, IdleTimeout: idleTime, ErrorLog: errors}
}

// Routes are those that the guard was made for. Not to be changed.
func (g *Guard) Routes() []Route { return g.table }

// refusal is an answer to a request that may not go on.
type refusal struct {
	status int
	text   string
	how    string // WWW-Authenticate, where a token is lacking
}

// serve lets the request through to the route, or not.
func (g *Guard) serve(route Route, w http.ResponseWriter, r *http.Request) {
	if route.Role == Anyone && !route.Own {
		route.Handler(w, r)
		return
	}
	no, looks := g.elsewhere(r), route.Method == http.MethodGet
	var caller Caller
	switch {
	case no != nil:
	case !route.Own:
		caller, no = g.caller(r, route.Role)
	case !looks && r.Header.Get("Origin") == "":
		no = &refusal{http.StatusForbidden, "a browser says from which page a form comes (Origin)", ""}
	default:
		caller, _ = g.caller(r, Anyone)
	}
	r = r.WithContext(context.WithValue(r.Context(), callerKey{}, caller))
	switch {
	case !looks && !route.Own:
		g.change(route, caller, no, w, r)
	case no != nil:
		no.answer(route, w, r)
	default:
		route.Handler(w, r)
	}
}

// other answers what no route is for.
func (g *Guard) other(w http.ResponseWriter, r *http.Request) {
	if no := g.elsewhere(r); no != nil {
		no.answer(Route{}, w, r)
		return
	}
	_, path := g.paths.Handler(r)
	methods := g.allow[path]
	if methods == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	text := fmt.Sprintf("%s is for %s, not for %s", r.URL.Path, strings.Join(methods, " and "), r.Method)
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		text += ": it changes something"
	}
	http.Error(w, text, http.StatusMethodNotAllowed)
}

// elsewhere refuses what a page from elsewhere makes a browser send.
func (g *Guard) elsewhere(r *http.Request) *refusal {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(host)
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil && !slices.Contains(g.hosts, host) {
		return &refusal{
			http.StatusMisdirectedRequest,
			fmt.Sprintf("requests for the host %.100q are not answered here, so that no web page can ask under a name of its own: "+
				"use the address, or add the name to admin.hosts", host),
			"",
		}
	}
	site := r.Header.Get("Sec-Fetch-Site")
	if site != "" && site != "same-origin" && site != "none" {
		return &refusal{
			http.StatusForbidden,
			"a page from elsewhere has made the browser send this (Sec-Fetch-Site: " + short(site) + "): open the address itself",
			"",
		}
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		if u, err := url.Parse(origin); err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
			return &refusal{
				http.StatusForbidden,
				"a page from elsewhere has made the browser send this (Origin: " + short(origin) + "): open the address itself",
				"",
			}
		}
	}
	return nil
}

func short(header string) string { return fmt.Sprintf("%.100q", header) }

// known is who has a token.
func (g *Guard) known(token hash) (Actor, bool) {
	g.refresh()
	g.mu.RLock()
	defer g.mu.RUnlock()
	actor, ok := g.tokens[token]
	return actor, ok
}

// caller is who sends the request, if they may do what takes that role.
func (g *Guard) caller(r *http.Request, need Role) (Caller, *refusal) {
	header := r.Header.Get("Authorization")
	scheme, token, _ := strings.Cut(header, " ")
	c := Caller{token: hashOf(strings.TrimSpace(token))}
	actor, known := g.known(c.token)
	known = known && strings.EqualFold(scheme, "Bearer")
	switch c.Actor = actor; {
	case known:
	case header == "":
		c, known = g.cfg.Browsers.caller(r)
		actor = c.Actor
	}
	switch {
	case known && actor.Role >= need:
		return c, nil
	case g.open && need <= Viewer:
		return Caller{Actor: Actor{Role: Viewer}}, nil
	case known:
		return c, &refusal{
			http.StatusForbidden,
			fmt.Sprintf("this takes the role %s, the token of %s has the role %s", need, actor.Name, actor.Role),
			`Bearer realm="nodeserver", error="insufficient_scope"`,
		}
	case header != "":
		return Caller{}, &refusal{
			http.StatusUnauthorized,
			"this token is not known here: was it replaced, or is it another node's?",
			`Bearer realm="nodeserver", error="invalid_token"`,
		}
	}
	return Caller{}, &refusal{
		http.StatusUnauthorized,
		fmt.Sprintf("this takes a token with the role %s, as: Authorization: Bearer TOKEN", need),
		`Bearer realm="nodeserver"`,
	}
}

func (no *refusal) answer(route Route, w http.ResponseWriter, r *http.Request) {
	if no.how != "" {
		w.Header().Set("WWW-Authenticate", no.how)
	}
	if route.Refused != nil {
		route.Refused(w, r, no.status, no.text)
		return
	}
	http.Error(w, no.text, no.status)
}

// change carries a change out, or refuses it, and writes down which.
func (g *Guard) change(route Route, caller Caller, no *refusal, w http.ResponseWriter, r *http.Request) {
	args := []any{"event", "change", "actor", caller.Actor.String(), "action", route.Action, "path", r.URL.Path, "from", r.RemoteAddr}
	act := &Act{Actor: caller.Actor}
	if no == nil {
		no = caller.forged(w, r, act)
	}
	if no != nil {
		g.refusals.Warn(g.log, "audit", append(args, "result", "refused", "status", no.status)...)
		no.answer(route, w, r)
		return
	}
	began := time.Now()
	answer := &answer{ResponseWriter: w}
	result := "failed"
	defer func() { // also when the handler panics
		notes, failed := act.noted()
		if failed || answer.status >= http.StatusBadRequest {
			result = "failed"
		}
		args = append(args, "result", result, "status", answer.status, "dur", time.Since(began))
		g.log.Info("audit", append(args, notes...)...)
	}()
	route.Handler(answer, r.WithContext(context.WithValue(r.Context(), actKey{}, act)))
	result = "done"
}

// Act is one change while it is carried out.
type Act struct {
	Actor Actor
	Form  *multipart.Reader // what follows the field csrf in a form that may hold a file; nil: no such form

	mu     sync.Mutex
	notes  []any
	failed bool
}

type actKey struct{}

// ActOf is the change that the context is of; nil: none is.
func ActOf(ctx context.Context) *Act {
	act, _ := ctx.Value(actKey{}).(*Act)
	return act
}

// Note adds to the line in the audit log: of what, why it failed. No secret, and no value
// that may hold one.
func (a *Act) Note(key string, value any) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.notes = append(a.notes, key, value)
}

// Fail writes down that the change was not made, also where the status of the answer was sent
// before that was known.
func (a *Act) Fail(err error) {
	if a == nil {
		return
	}
	a.Note("err", err)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failed = true
}

func (a *Act) noted() (notes []any, failed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.notes, a.failed
}

// answer is a response that knows its status.
type answer struct {
	http.ResponseWriter
	status int // 0: none yet
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 || a.status < http.StatusOK {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
