package console

import (
	"encoding/json"
	"net/http"
	"strings"
)

// login is what the log-in page shows.
type login struct {
	Code    string // of a link; empty: a token is asked for
	Problem string
}

func (c *Console) login(w http.ResponseWriter, r *http.Request) {
	c.show(w, r, http.StatusOK, "login.html", "Log in", login{Code: r.URL.Query().Get("code")})
}

// maxLogin is how many bytes a log-in may have.
const maxLogin = 4096

// logIn begins a browser session. A link is used up by this, not by the page that it leads
// to, which programs may fetch that look where links lead.
func (c *Console) logIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxLogin)
	actor, err := c.cfg.Browsers.LogIn(w, r, r.PostFormValue("code"), strings.TrimSpace(r.PostFormValue("token")))
	if err != nil {
		c.log.Warn("audit", "action", "log in", "from", r.RemoteAddr, "result", "refused")
		c.show(w, r, http.StatusUnauthorized, "login.html", "Log in", login{Problem: err.Error()})
		return
	}
	c.log.Info("audit", "actor", actor.String(), "action", "log in", "from", r.RemoteAddr, "result", "done")
	headers(w)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (c *Console) logOut(w http.ResponseWriter, r *http.Request) {
	c.cfg.Browsers.LogOut(w, r)
	headers(w)
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// LinkReply is what POST /api/v1/console answers.
type LinkReply struct {
	Schema string `json:"schema"` // nodeserver.console/1
	Node   string `json:"node"`
	Path   string `json:"path"` // on the admin address; it logs a browser in, once, within 10 minutes
}

func (c *Console) link(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	reply := LinkReply{Schema: "nodeserver.console/1", Node: c.cfg.Name, Path: LinkPath(c.cfg.Browsers.Link(r))}
	_ = json.NewEncoder(w).Encode(reply) // an operator who hung up needs no answer
}

// LinkPath is where a code logs a browser in.
func LinkPath(code string) string { return "/login?code=" + code }

const themeCookie = "nodeserver-theme"

func themeOf(r *http.Request) string {
	if c, err := r.Cookie(themeCookie); err == nil && (c.Value == "dark" || c.Value == "light") {
		return c.Value
	}
	return ""
}

// setTheme keeps whether pages are light or dark, and leads back to the page.
func (c *Console) setTheme(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxLogin)
	age := 365 * 24 * 3600
	theme := r.PostFormValue("theme")
	if theme != "dark" && theme != "light" {
		theme, age = "", -1
	}
	http.SetCookie(w, &http.Cookie{
		Name: themeCookie, Value: theme, Path: "/", MaxAge: age, HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	})
	back := "/"
	for _, p := range pages {
		if p.Path == r.PostFormValue("page") {
			back = p.Path
		}
	}
	headers(w)
	http.Redirect(w, r, back, http.StatusSeeOther)
}
