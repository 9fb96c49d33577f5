package operators_test

import (
	"bytes"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/operators"
)

const site = "http://127.0.0.1:9081"

// door is a guard with a log-in, a page, and a change, as the console has them.
type door struct {
	t        *testing.T
	guard    *operators.Guard
	browsers *operators.Browsers
	log      bytes.Buffer
	done     int
	csrf     string // of the page
	link     string
	file     string // what followed the token in a form with a file
}

func newDoor(t *testing.T, tokens string) *door {
	t.Helper()
	d := &door{t: t, browsers: operators.NewBrowsers()}
	routes := []operators.Route{
		{Method: "POST", Path: "/login", Own: true, Handler: func(w http.ResponseWriter, r *http.Request) {
			if _, err := d.browsers.LogIn(w, r, r.PostFormValue("code"), r.PostFormValue("token")); err != nil {
				http.Error(w, err.Error(), http.StatusUnauthorized)
			}
		}},
		{Method: "POST", Path: "/logout", Own: true, Handler: func(w http.ResponseWriter, r *http.Request) { d.browsers.LogOut(w, r) }},
		{Method: "GET", Path: "/{$}", Role: operators.Viewer, Handler: func(_ http.ResponseWriter, r *http.Request) {
			d.csrf, d.link = operators.CallerOf(r).CSRF, d.browsers.Link(r)
		}},
		{Method: "POST", Path: "/change", Role: operators.Operator, Action: "change", Handler: d.change},
	}
	cfg := operators.Config{Admin: config.Admin{TokensFile: tokens}, Browsers: d.browsers}
	var err error
	if d.guard, err = operators.New(cfg, slog.New(slog.NewTextHandler(&d.log, nil)), routes); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *door) change(_ http.ResponseWriter, r *http.Request) {
	d.done++
	if form := operators.ActOf(r.Context()).Form; form != nil {
		part, err := form.NextPart()
		if err != nil {
			d.t.Error(err)
			return
		}
		d.file = part.FileName()
	}
}

// send sends a request, with headers as name and value, and returns the status and the cookie.
func (d *door) send(method, path, form, cookie string, headers ...string) (int, *http.Cookie) {
	d.t.Helper()
	r := httptest.NewRequestWithContext(d.t.Context(), method, site+path, strings.NewReader(form))
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", site)
	}
	if cookie != "" {
		r.Header.Set("Cookie", "nodeserver-console-9081="+cookie)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	d.guard.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		return w.Code, c
	}
	return w.Code, nil
}

func (d *door) want(status int, method, path, form, cookie string, headers ...string) {
	d.t.Helper()
	if got, _ := d.send(method, path, form, cookie, headers...); got != status {
		d.t.Errorf("%s %s %q %v: %d, want %d", method, path, form, headers, got, status)
	}
}

func (d *door) logIn(form string) (cookie string) {
	d.t.Helper()
	status, c := d.send("POST", "/login", form, "")
	if status != http.StatusOK || c == nil {
		d.t.Fatalf("log in: %d, %v", status, c)
	}
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Name != "nodeserver-console-9081" || c.MaxAge != 12*3600 {
		d.t.Errorf("cookie %+v", c)
	}
	d.want(http.StatusOK, "GET", "/", "", c.Value)
	return c.Value
}

// A browser's session stands for its token; changes want an Origin and the form's token, too.
func TestBrowsers(t *testing.T) {
	file, viewer, operator := tokensFile(t)
	d := newDoor(t, file)
	d.want(http.StatusUnauthorized, "GET", "/", "", "")
	d.want(http.StatusUnauthorized, "GET", "/", "", "invented")
	d.want(http.StatusUnauthorized, "POST", "/login", "token="+operator+"x", "")
	d.want(http.StatusForbidden, "POST", "/login", "token="+operator, "", "Origin", "http://evil.example.com")
	d.want(http.StatusForbidden, "POST", "/login", "token="+operator, "", "Origin", "")

	looks := d.logIn("token=" + viewer)
	d.want(http.StatusForbidden, "POST", "/change", "csrf="+d.csrf, looks)
	cookie := d.logIn("token=" + operator)
	csrf := d.csrf
	for _, form := range []string{"", "csrf=", "csrf=x", "csrf=" + csrf + "x", "x=1&csrf="} {
		d.want(http.StatusForbidden, "POST", "/change", form, cookie)
	}
	d.want(http.StatusForbidden, "POST", "/change", "csrf="+csrf, cookie, "Origin", "")
	d.want(http.StatusForbidden, "POST", "/change", "csrf="+csrf, cookie, "Origin", "null")
	d.want(http.StatusForbidden, "POST", "/change", "csrf="+csrf, cookie, "Sec-Fetch-Site", "same-site")
	d.want(http.StatusMethodNotAllowed, "GET", "/change?csrf="+csrf, "", cookie)
	d.want(http.StatusUnauthorized, "POST", "/change", "csrf="+csrf, cookie, "Authorization", "Bearer x")
	if d.done != 0 {
		t.Errorf("%d changes were let through", d.done)
	}
	d.want(http.StatusOK, "POST", "/change", "csrf="+csrf, cookie)
	d.want(http.StatusOK, "POST", "/change", "", cookie, "X-Csrf-Token", csrf)
	if d.done != 2 || strings.Count(d.log.String(), "actor=a-operator action=change path=/change from=192.0.2.1:1234 result=done") != 2 {
		t.Errorf("%d changes, audit log:\n%s", d.done, d.log.String())
	}
	code := d.link
	other := d.logIn("code=" + code)
	d.want(http.StatusUnauthorized, "POST", "/login", "code="+code, "") // it was for once
	if d.csrf == csrf {
		t.Error("two sessions have one token")
	}
	d.want(http.StatusForbidden, "POST", "/change", "csrf="+csrf, other)

	d.want(http.StatusOK, "POST", "/logout", "", cookie)
	d.want(http.StatusUnauthorized, "GET", "/", "", cookie)
	d.want(http.StatusOK, "GET", "/", "", other)
	line, err := operators.Line(operators.Viewer, "somebody", viewer)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil { // shorter: the file has changed for sure
		t.Fatal(err)
	}
	d.want(http.StatusUnauthorized, "GET", "/", "", other)
	for _, secret := range []string{"nsec1", cookie, other, csrf, code} {
		if strings.Contains(d.log.String(), secret) {
			t.Errorf("a secret is in the log:\n%s", d.log.String())
		}
	}
}

// A form with a file is read only as far as its token; without one in front it is refused.
func TestFormWithAFile(t *testing.T) {
	file, _, operator := tokensFile(t)
	d := newDoor(t, file)
	cookie := d.logIn("token=" + operator)
	for _, c := range []struct {
		status int
		fields []string
	}{{http.StatusOK, []string{"csrf", "file"}}, {http.StatusForbidden, []string{"file", "csrf"}}, {http.StatusForbidden, nil}} {
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		for _, name := range c.fields {
			err := error(nil)
			if name == "csrf" {
				err = form.WriteField(name, d.csrf)
			} else {
				_, err = form.CreateFormFile(name, "shop.so")
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := form.Close(); err != nil {
			t.Fatal(err)
		}
		d.want(c.status, "POST", "/change", body.String(), cookie, "Content-Type", form.FormDataContentType())
	}
	if d.done != 1 || d.file != "shop.so" {
		t.Errorf("%d changes, file %q", d.done, d.file)
	}
}

// A session ends an hour after its last request and 12 hours after its beginning, and a link
// after 10 minutes. There are never more than 64 sessions.
func TestBrowsersEnd(t *testing.T) {
	file, _, operator := tokensFile(t)
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, file)
		cookie := d.logIn("token=" + operator)
		code := d.link
		<-time.After(11 * time.Minute)
		d.want(http.StatusUnauthorized, "POST", "/login", "code="+url.QueryEscape(code), "")
		for range 17 {
			<-time.After(40 * time.Minute)
			d.want(http.StatusOK, "GET", "/", "", cookie)
		}
		<-time.After(40 * time.Minute)
		d.want(http.StatusUnauthorized, "GET", "/", "", cookie)

		cookie = d.logIn("token=" + operator)
		<-time.After(61 * time.Minute)
		d.want(http.StatusUnauthorized, "GET", "/", "", cookie)

		cookie = d.logIn("token=" + operator)
		for range 64 {
			<-time.After(time.Second)
			d.logIn("token=" + operator)
		}
		d.want(http.StatusUnauthorized, "GET", "/", "", cookie)
	})
}
