package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/server/deploy"
	"github.com/nodeserver/nodeserver/server/operators"
	"github.com/nodeserver/nodeserver/webapps/codec"
)

// SessionsReply is what /api/v1/sessions answers: a page of the sessions that a node has.
type SessionsReply struct {
	Schema   string       `json:"schema"` // nodeserver.sessions/1
	Node     string       `json:"node"`   // who answers
	Total    int          `json:"total"`  // sessions that were asked for, on all pages
	Sessions []SessionRow `json:"sessions"`
	Cursor   string       `json:"cursor,omitempty"` // for the query "after" of the next page; none: this is the last one
}

// SessionRow is a session as a node has it. Its id is not that of the cookie, which no node
// knows: it is sid in the log.
type SessionRow struct {
	App         string    `json:"app"`
	ID          string    `json:"id"` // hex
	Principal   string    `json:"principal,omitempty"`
	Created     time.Time `json:"created"`
	LastAccess  time.Time `json:"last_access"`          // newest that is known at the node
	MaxInactive float64   `json:"max_inactive_seconds"` // 0: no limit
	Attributes  int       `json:"attributes"`           // that have a value
	Bytes       int       `json:"bytes"`                // of names and values
	Returned    bool      `json:"returned"`             // its cookie has come back
	Partial     bool      `json:"partial"`              // parts of it are still on their way to the node
}

// SessionReply is what /api/v1/sessions/{id} answers.
type SessionReply struct {
	Schema  string         `json:"schema"` // nodeserver.session/1
	Node    string         `json:"node"`
	Session SessionRow     `json:"session"`
	Names   []AttributeRow `json:"names"` // its attributes, by name
}

// AttributeRow is an attribute of a session.
type AttributeRow struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Bytes int    `json:"bytes"`
	Value string `json:"value,omitempty"` // only where values were asked for
}

// ExpireRequest says which sessions are to end: one, those of a user, or those that were not used.
type ExpireRequest struct {
	App       string  `json:"app"` // empty: of all apps
	ID        string  `json:"id"`
	Principal string  `json:"principal"`
	Idle      float64 `json:"idle_seconds"` // not used for as long; needs App
}

// ExpireReply is what /api/v1/expire answers.
type ExpireReply struct {
	Schema  string `json:"schema"` // nodeserver.expire/1
	Node    string `json:"node"`
	Expired int    `json:"expired"` // sessions that have ended, on all nodes
}

const (
	defaultPage = 50
	maxPage     = 1000
	maxValue    = 4096 // bytes of a value's text
)

// listed is a session of a list with its place in it.
type listed struct {
	row SessionRow
	at  deltamanager.Mark
}

func (a *admin) serveSessions(w http.ResponseWriter, r *http.Request) {
	reply, err := a.sessions(r.FormValue)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer(w, reply)
}

// sessions is the page that the parameters of the request ask for.
func (a *admin) sessions(parameter func(string) string) (SessionsReply, error) {
	q, err := sessionQuery(parameter)
	var apps []*deploy.Place
	if err == nil {
		apps, err = a.appsNamed(parameter("app"))
	}
	if err != nil {
		return SessionsReply{}, err
	}
	reply := SessionsReply{Schema: "nodeserver.sessions/1", Node: a.cfg.ID.Name, Sessions: []SessionRow{}}
	var list []listed
	for _, p := range apps {
		page, total := p.Manager().Newest(q)
		reply.Total += total
		for _, b := range page {
			list = append(list, listed{sessionRow(p.Name(), b), mark(q, b)})
		}
	}
	slices.SortFunc(list, func(x, y listed) int {
		return cmp.Or(y.at.At.Compare(x.at.At), slices.Compare(x.at.Key[:], y.at.Key[:]))
	})
	list = list[:min(len(list), q.Limit)]
	for _, l := range list {
		reply.Sessions = append(reply.Sessions, l.row)
	}
	if len(list) == q.Limit {
		last := list[len(list)-1].at
		reply.Cursor = strconv.FormatInt(last.At.UnixNano(), 10) + "." + last.Key.String()
	}
	return reply, nil
}

func mark(q deltamanager.Query, b deltamanager.Brief) deltamanager.Mark {
	if q.Used {
		return deltamanager.Mark{At: b.LastAccess, Key: b.Key}
	}
	return deltamanager.Mark{At: b.Created, Key: b.Key}
}

// sessionQuery reads which page is asked for.
func sessionQuery(parameter func(string) string) (q deltamanager.Query, err error) {
	q.Principal, q.Prefix, q.Limit = parameter("principal"), strings.ToLower(parameter("id")), defaultPage
	if text := parameter("limit"); text != "" {
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 1 || q.Limit > maxPage {
			return q, fmt.Errorf("limit: a page has 1 to %d sessions", maxPage)
		}
	}
	if text := parameter("idle"); text != "" {
		if q.Idle, err = time.ParseDuration(text); err != nil || q.Idle < 0 {
			return q, fmt.Errorf("idle: %.40q is no duration, like 30m", text)
		}
	}
	switch order := parameter("order"); order {
	case "", "created":
	case "used":
		q.Used = true
	default:
		return q, fmt.Errorf("order: %.40q is none of created, used", order)
	}
	if text := parameter("after"); text != "" {
		at, key, _ := strings.Cut(text, ".")
		ns, err := strconv.ParseInt(at, 10, 64)
		if err == nil {
			q.Before.Key, err = deltamanager.ParseKey(key)
		}
		if err != nil {
			return q, fmt.Errorf("after: %.80q is no cursor: use that of the page before", text)
		}
		q.Before.At = time.Unix(0, ns)
	}
	return q, nil
}

// appsNamed are the app of that name, or all.
func (a *admin) appsNamed(name string) ([]*deploy.Place, error) {
	if name == "" {
		return slices.Collect(a.apps.Each()), nil
	}
	p := a.apps.Find(name)
	if p == nil {
		return nil, fmt.Errorf("no app %.80q is served here", name)
	}
	return []*deploy.Place{p}, nil
}

func sessionRow(app string, b deltamanager.Brief) SessionRow {
	return SessionRow{
		App: app, ID: b.Key.String(), Principal: b.Principal, Created: b.Created, LastAccess: b.LastAccess,
		MaxInactive: b.MaxInactive.Seconds(), Attributes: b.Attributes, Bytes: b.Bytes, Returned: b.Returned, Partial: b.Partial,
	}
}

// errNoSession says that a node has not got the session of this id.
var errNoSession = errors.New("it has ended, or its app is not served here")

// copyOf finds the session of this id, whichever app it is of.
func (a *admin) copyOf(id string) (app string, c deltamanager.Copy, err error) {
	k, err := deltamanager.ParseKey(id)
	if err != nil {
		return "", c, err
	}
	for p := range a.apps.Each() {
		if c, ok := p.Manager().Copy(k); ok {
			return p.Name(), c, nil
		}
	}
	return "", c, fmt.Errorf("%s has no session %s: %w", a.cfg.ID.Name, k, errNoSession)
}

// showSession answers with one session; its values only if that was asked for, which is a change
// to the guard: for operators, and in the audit log.
func (a *admin) showSession(values bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		reply, err := a.session(r.PathValue("id"), values)
		switch {
		case errors.Is(err, errNoSession):
			http.Error(w, err.Error(), http.StatusNotFound)
		case err != nil:
			http.Error(w, err.Error(), http.StatusBadRequest)
		default:
			answer(w, reply)
		}
	}
}

func (a *admin) session(id string, values bool) (SessionReply, error) {
	app, c, err := a.copyOf(id)
	if err != nil {
		return SessionReply{}, err
	}
	reply := SessionReply{
		Schema: "nodeserver.session/1", Node: a.cfg.ID.Name, Session: sessionRow(app, c.Brief), Names: []AttributeRow{},
	}
	for _, g := range c.Registers {
		if g.Value == nil {
			continue
		}
		row := AttributeRow{Name: strings.ToValidUTF8(g.Name, "?"), Type: codec.TypeOf(g.Value), Bytes: len(g.Value)}
		if values {
			row.Value = codec.TextOf(g.Value, maxValue)
		}
		reply.Names = append(reply.Names, row)
	}
	return reply, nil
}

func (a *admin) expireSessions(w http.ResponseWriter, r *http.Request) {
	var q ExpireRequest
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	in.DisallowUnknownFields()
	err := in.Decode(&q)
	if err != nil {
		err = fmt.Errorf("which sessions are to end is read from the body, as JSON: %w", err)
	}
	if err == nil {
		_, err = q.wanted()
	}
	if err == nil {
		_, err = a.appsNamed(q.App)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	reply := ExpireReply{Schema: "nodeserver.expire/1", Node: a.cfg.ID.Name}
	if reply.Expired, err = a.expire(r.Context(), q); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	answer(w, reply)
}

// expire ends sessions, on all nodes, and writes down in the audit log which. In the context of a
// change.
func (a *admin) expire(ctx context.Context, q ExpireRequest) (expired int, err error) {
	wanted, err := q.wanted()
	var apps []*deploy.Place
	if err == nil {
		apps, err = a.appsNamed(q.App)
	}
	for _, p := range apps {
		n, wrong := p.Manager().Expire(ctx, wanted)
		expired += n
		err = errors.Join(err, wrong)
	}
	act := operators.ActOf(ctx)
	act.Note("app", q.App)
	act.Note("sid", q.ID)
	act.Note("principal", q.Principal)
	act.Note("expired", expired)
	if err != nil {
		err = fmt.Errorf("%d sessions have ended, then: %w", expired, err)
		act.Note("err", err)
	}
	return expired, err
}

// wanted is which sessions are to end: one way to say it, so that no slip ends more than was meant.
func (q ExpireRequest) wanted() (w deltamanager.Wanted, err error) {
	given := 0
	for _, is := range []bool{q.ID != "", q.Principal != "", q.Idle != 0} {
		if is {
			given++
		}
	}
	switch {
	case given != 1:
		return w, errors.New("say which sessions are to end by one of id, principal, idle_seconds")
	case q.Idle < 0 || q.Idle > (365*24*time.Hour).Seconds():
		return w, errors.New("idle_seconds: want more than 0, and a year at most")
	case q.Idle > 0 && q.App == "":
		return w, errors.New("idle_seconds: say of which app")
	case q.ID != "":
		k, err := deltamanager.ParseKey(q.ID)
		return deltamanager.Wanted{Prefix: k.String()}, err
	}
	return deltamanager.Wanted{Principal: q.Principal, Idle: time.Duration(q.Idle * float64(time.Second))}, nil
}
