package console_test

import (
	"context"
	"errors"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/console"
	"github.com/nodeserver/nodeserver/server/deploy"
	"github.com/nodeserver/nodeserver/server/events"
	"github.com/nodeserver/nodeserver/server/operators"
)

// planted is what must never be part of a page as it is.
const planted = `<script>alert("x")</script><b onclick='x'>`

// fake is a cluster in which all that others may choose is planted.
type fake struct {
	drained bool
	expired []string // ids of sessions
}

func (f *fake) Cluster(context.Context) admin.ClusterReply {
	now := time.Now()
	report := func(name string) *admin.NodeReport {
		return &admin.NodeReport{
			Node: name, Version: planted, ConfDigest: planted, Ready: true, Draining: f.drained, Since: now,
			Apps: []admin.AppRow{{
				Name: "shop" + planted, Path: "/" + planted, State: "serving", Version: planted, Revision: planted,
				Problem: &admin.Problem{Reason: planted},
			}},
			Members: []admin.MemberRow{
				{Name: "n1", State: "alive", InSync: true},
				{Name: planted, State: "alive" + planted, InSync: true},
			},
		}
	}
	return admin.ClusterReply{Node: "n1", Nodes: []admin.NodeRow{
		{Name: "n1", State: "alive", Self: true, Report: report("n1")},
		{Name: planted, State: "alive", Report: report(planted)},
		{Name: "n3", State: planted, Problem: planted},
	}}
}

func (f *fake) SetDraining(_ context.Context, node string, on bool, operator string) error {
	if node != "n1" || operator != "start-token" {
		return errors.New(planted)
	}
	f.drained = on
	return nil
}

func (f *fake) Events(context.Context) ([]events.Event, []admin.SilentRow) {
	now := time.Now()
	return []events.Event{
		{Node: "n1", Time: now, First: now, Count: 1, Kind: "joined", Level: "INFO", Text: "n2 has joined"},
		{Node: planted, Time: now, First: now, Count: 3, Kind: "joined", Level: planted, Text: planted},
	}, []admin.SilentRow{{Name: planted, Problem: planted}}
}

func (f *fake) Sessions(func(string) string) (admin.SessionsReply, error) {
	return admin.SessionsReply{Node: "n1", Total: 1, Cursor: planted, Sessions: []admin.SessionRow{{
		App: planted, ID: "ab" + planted, Principal: planted, Created: time.Now(), LastAccess: time.Now(),
	}}}, errors.New(planted)
}

func (f *fake) Session(id string, values bool) (admin.SessionReply, error) {
	if id != "ab" {
		return admin.SessionReply{}, errors.New(planted)
	}
	row := admin.AttributeRow{Name: planted, Type: planted, Bytes: 1}
	if values {
		row.Value = "value" + planted
	}
	s := admin.SessionRow{App: planted, ID: id, Principal: planted, Created: time.Now(), LastAccess: time.Now()}
	return admin.SessionReply{Node: "n1", Session: s, Names: []admin.AttributeRow{row}}, nil
}

func (f *fake) Where(context.Context, string) (admin.WhereReply, error) {
	return admin.WhereReply{Copies: []admin.CopyRow{
		{Node: planted, Here: true, Stamp: planted, Sum: planted}, {Node: "n2", Problem: planted}, {Node: "n3"},
	}}, nil
}

func (f *fake) Expire(_ context.Context, q admin.ExpireRequest) (int, error) {
	f.expired = append(f.expired, q.ID)
	return 1, nil
}

func (f *fake) Sample() admin.Sample {
	return admin.Sample{At: time.Now(), Sessions: map[string]int64{planted: 3}, Queue: map[string]int{planted: 1}}
}

func (f *fake) Catalog() []deploy.Entry {
	return []deploy.Entry{{
		App: "shop" + planted, By: planted, Build: deploy.Build{Hash: strings.Repeat("a", 64), Version: planted},
		History: []deploy.Build{{Hash: strings.Repeat("b", 64), Version: planted}},
	}}
}

func (f *fake) Deploy(_ context.Context, r io.Reader, q deploy.Request) (deploy.Entry, error) {
	_, err := io.Copy(io.Discard, r)
	q.Step(planted, planted)
	return deploy.Entry{}, errors.Join(err, errors.New(planted))
}

func (f *fake) Rollback(_ context.Context, app string, q deploy.Request) (deploy.Entry, error) {
	q.Step(planted, planted)
	return deploy.Entry{App: app, Build: deploy.Build{Hash: "x", Version: planted}}, nil
}

func (f *fake) Undeploy(context.Context, string, deploy.Request) (deploy.Entry, error) {
	return deploy.Entry{}, &deploy.Refused{Reasons: map[string]string{planted: planted}}
}

// site is the pages of the fake node, and a browser that is logged in.
type site struct {
	t      *testing.T
	guard  *operators.Guard
	fake   *fake
	log    strings.Builder
	cookie string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, fake: &fake{}}
	log := slog.New(slog.NewTextHandler(&s.log, nil))
	browsers := operators.NewBrowsers()
	info := console.Info{
		Values: []console.Value{
			{Key: "node.name", Value: planted, From: planted},
			{Key: "admin.pprof", Value: "true", From: "default"},
			{Key: "app.shop.config", Value: "password", From: "n1.toml:3"},
		},
		Lines: func() []string { return []string{planted} },
		Kill:  func(node string) error { return errors.New(node) },
	}
	cfg := console.Config{Name: "n1", Cluster: planted, Version: planted, Browsers: browsers, Farm: s.fake, Info: info}
	pages := console.New(cfg, s.fake, log)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	pages.Run(ctx) // takes one sample
	var err error
	s.guard, err = operators.New(operators.Config{Admin: config.Admin{}, Browsers: browsers}, log, pages.Routes())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	end, err := s.guard.Start("127.0.0.1:9081")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	w := s.send("POST", "/login", url.Values{"code": {s.guard.StartLink()}})
	if w.Code != http.StatusSeeOther {
		t.Fatalf("log in: %d %s", w.Code, w.Body)
	}
	s.cookie = w.Result().Cookies()[0].Name + "=" + w.Result().Cookies()[0].Value
	return s
}

func (s *site) send(method, path string, form url.Values) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequestWithContext(s.t.Context(), method, "http://127.0.0.1:9081"+path, strings.NewReader(form.Encode()))
	r.Header.Set("Cookie", s.cookie)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", "http://127.0.0.1:9081")
	}
	w := httptest.NewRecorder()
	s.guard.ServeHTTP(w, r)
	return w
}

var csrfOf = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

func (s *site) csrf() string {
	s.t.Helper()
	found := csrfOf.FindStringSubmatch(s.send("GET", "/webapps", nil).Body.String())
	if found == nil {
		s.t.Fatal("the page has no form")
	}
	return found[1]
}

// safe checks what every page must have, and that what was planted is text.
func (s *site) safe(what string, w *httptest.ResponseRecorder) string {
	s.t.Helper()
	page := w.Body.String()
	policy := w.Header().Get("Content-Security-Policy")
	for _, want := range []string{
		"default-src 'none'", "script-src 'self'", "style-src 'self'", "form-action 'self'", "frame-ancestors 'none'",
	} {
		if !strings.Contains(policy, want) {
			s.t.Errorf("%s: policy %q lacks %s", what, policy, want)
		}
	}
	if strings.Contains(policy, "unsafe") || w.Header().Get("Cache-Control") == "" ||
		w.Header().Get("X-Content-Type-Options") != "nosniff" {
		s.t.Errorf("%s: header %v", what, w.Header())
	}
	for _, bad := range []string{"<script>", "<b onclick", " style=", "onclick='"} {
		if i := strings.Index(page, bad); i >= 0 {
			s.t.Errorf("%s has %s: …%s", what, bad, page[max(0, i-80):min(len(page), i+80)])
		}
	}
	if strings.Contains(page, "http://") || strings.Contains(page, "https://") {
		s.t.Errorf("%s names another host", what)
	}
	return page
}

// What users, webapps, members and operators chose is text on every page.
func TestPagesEscape(t *testing.T) {
	s := newSite(t)
	q := url.QueryEscape(planted)
	for _, path := range []string{
		"/", "/webapps", "/sessions", "/sessions/ab", "/events", "/node", "/events?node=n1&q=" + q, "/login", "/login?code=" + q,
		"/?done=" + q,
	} {
		w := s.send("GET", path, nil)
		if page := s.safe(path, w); w.Code != http.StatusOK || !strings.Contains(page, html.EscapeString("<script>")) {
			t.Errorf("%s: %d, it does not show what was planted:\n%s", path, w.Code, page)
		}
	}
	if page := s.send("GET", "/node", nil).Body.String(); strings.Contains(page, "password") {
		t.Error("what an app is given is shown")
	}
	for path, status := range map[string]int{
		"/webapps/rollback": 200, "/webapps/undeploy": 200, "/webapps/deploy": 400, "/sessions/ab/values": 200, "/kill": 409,
		"/drain": 409,
	} {
		w := s.send("POST", path, url.Values{"csrf": {s.csrf()}, "app": {planted}, "node": {planted}})
		if s.safe(path, w); w.Code != status {
			t.Errorf("%s: %d, want %d", path, w.Code, status)
		}
	}
	if log := s.log.String(); !strings.Contains(log, "action=undeploy") || strings.Count(log, "result=failed") != 4 {
		t.Errorf("audit log:\n%s", log)
	}
}

// A change wants the form's token; without it, and without a session, a page says so.
func TestChanges(t *testing.T) {
	s := newSite(t)
	w := s.send("POST", "/drain", url.Values{"csrf": {"x"}})
	if s.safe("forged", w); w.Code != http.StatusForbidden || s.fake.drained {
		t.Errorf("forged: %d, drained: %v", w.Code, s.fake.drained)
	}
	w = s.send("POST", "/drain", url.Values{"csrf": {s.csrf()}, "node": {"n1"}})
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/?done=drain" || !s.fake.drained {
		t.Errorf("%d %v, drained: %v", w.Code, w.Header(), s.fake.drained)
	}
	if page := s.send("GET", "/?done=drain", nil).Body.String(); !strings.Contains(page, `action="/undrain"`) ||
		!strings.Contains(page, "gives its users away") {
		t.Error(page)
	}
	if w := s.send("POST", "/logout", nil); w.Code != http.StatusSeeOther {
		t.Errorf("log out: %d", w.Code)
	}
	w = s.send("POST", "/drain", nil)
	if page := s.safe("no session", w); w.Code != http.StatusUnauthorized || !strings.Contains(page, `name="token"`) {
		t.Errorf("without a session: %d %s", w.Code, page)
	}
	if w := s.send("GET", "/", nil); w.Code != http.StatusOK || strings.Contains(w.Body.String(), "csrf") {
		t.Errorf("who has no token where none is named may look, no more: %d", w.Code)
	}
}

// The cookie of the colours holds nothing else.
func TestTheme(t *testing.T) {
	s := newSite(t)
	for theme, want := range map[string]string{"dark": "dark", "light": "light", "auto": "", planted: ""} {
		w := s.send("POST", "/theme", url.Values{"theme": {theme}, "page": {"//evil.example.com"}})
		if c := w.Result().Cookies(); len(c) != 1 || c[0].Value != want || w.Header().Get("Location") != "/" {
			t.Errorf("%s: %v %v", theme, c, w.Header())
		}
	}
}

// Sessions are ended one or many at a time; values are only shown to operators who ask for them.
func TestSessions(t *testing.T) {
	s := newSite(t)
	if w := s.send("GET", "/sessions/other", nil); w.Code != http.StatusNotFound {
		t.Errorf("no session: %d", w.Code)
	}
	if page := s.send("GET", "/sessions/ab", nil).Body.String(); strings.Contains(page, "value&lt;") {
		t.Error("values are shown to whoever looks")
	}
	csrf := s.csrf()
	w := s.send("POST", "/sessions/ab/values", url.Values{"csrf": {csrf}})
	if !strings.Contains(w.Body.String(), "value&lt;") || !strings.Contains(s.log.String(), `action="read values"`) {
		t.Errorf("%s\n%s", w.Body, s.log.String())
	}
	if w := s.send("POST", "/expire", url.Values{"id": {"ab", "cd"}}); w.Code != http.StatusForbidden || s.fake.expired != nil {
		t.Errorf("forged: %d, %v", w.Code, s.fake.expired)
	}
	w = s.send("POST", "/expire", url.Values{"csrf": {csrf}, "id": {"ab", "cd"}})
	if w.Code != http.StatusSeeOther || strings.Join(s.fake.expired, " ") != "ab cd" {
		t.Errorf("%d, %v", w.Code, s.fake.expired)
	}
	if w := s.send("POST", "/expire", url.Values{"csrf": {csrf}}); w.Header().Get("Location") != "/sessions?done=none" {
		t.Errorf("none chosen: %v", w.Header())
	}
}
