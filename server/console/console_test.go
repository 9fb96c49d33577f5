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
	"github.com/nodeserver/nodeserver/server/operators"
)

// planted is what must never be part of a page as it is.
const planted = `<script>alert("x")</script><b onclick='x'>`

// fake is a cluster in which all that others may choose is planted.
type fake struct{ drained bool }

func (f *fake) Cluster(context.Context) admin.ClusterReply {
	now := time.Now()
	report := func(name string) *admin.NodeReport {
		return &admin.NodeReport{
			Node: name, Version: planted, ConfDigest: planted, Ready: true, Since: now,
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

func (f *fake) Drain() admin.DrainReply   { return admin.DrainReply{Node: "n1", Draining: f.drained} }
func (f *fake) SetDraining(on bool) error { f.drained = on; return nil }
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
	pages := console.New(console.Config{Name: "n1", Cluster: planted, Version: planted, Browsers: browsers, Farm: s.fake}, s.fake, log)
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
	for _, path := range []string{"/", "/webapps", "/login", "/login?code=" + q, "/?done=" + q} {
		w := s.send("GET", path, nil)
		if page := s.safe(path, w); w.Code != http.StatusOK || !strings.Contains(page, html.EscapeString("<script>")) {
			t.Errorf("%s: %d, it does not show what was planted:\n%s", path, w.Code, page)
		}
	}
	for path, status := range map[string]int{"/webapps/rollback": 200, "/webapps/undeploy": 200, "/webapps/deploy": 400} {
		w := s.send("POST", path, url.Values{"csrf": {s.csrf()}, "app": {planted}})
		if s.safe(path, w); w.Code != status {
			t.Errorf("%s: %d, want %d", path, w.Code, status)
		}
	}
	if log := s.log.String(); !strings.Contains(log, "action=undeploy") || strings.Count(log, "result=failed") != 2 {
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
	w = s.send("POST", "/drain", url.Values{"csrf": {s.csrf()}})
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
	if w := s.send("GET", "/", nil); w.Code != http.StatusOK || strings.Contains(w.Body.String(), "drain-button") {
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
