package cart

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"github.com/nodeserver/nodeserver/webapps"
)

// Webapp is the app, as a plugin exports it.
func Webapp() webapps.App {
	return webapps.App{Name: "cart", Version: "1", New: newHandler}
}

//go:embed page.html
var page string

//go:embed static
var static embed.FS

// shop is the app on one node. All that is the users' is in their sessions.
type shop struct {
	c    webapps.Context
	page *template.Template
}

func newHandler(c webapps.Context) (http.Handler, error) {
	t, err := template.New("page").Parse(page)
	if err != nil {
		return nil, err
	}
	a := &shop{c, t}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.show)
	mux.HandleFunc("POST /add", a.after(add))
	mux.HandleFunc("POST /remove", a.after(remove))
	mux.HandleFunc("PUT /items/{sku}", a.after(put))
	mux.HandleFunc("POST /login", a.after(login))
	mux.HandleFunc("POST /logout", a.after(logout))
	mux.Handle("GET /static/", http.FileServerFS(static))
	return http.MaxBytesHandler(http.NewCrossOriginProtection().Handler(mux), 64<<10), nil
}

// after answers a request that changes something: with the page, or with why not.
func (a *shop) after(change func(*http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := change(r)
		var no refusal
		switch {
		case errors.As(err, &no):
			http.Error(w, no.text, no.status)
		case err != nil:
			a.fail(w, r, err)
		case wantsText(r):
			a.show(w, r)
		default:
			http.Redirect(w, r, a.c.Path(), http.StatusSeeOther) // so that a reload repeats nothing
		}
	}
}

// view is what the page shows.
type view struct {
	contents
	Goods   []item
	User    string
	Node    string
	Session string // the first letters of its key; empty: there is none yet
}

func (a *shop) show(w http.ResponseWriter, r *http.Request) {
	v, err := a.view(r)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	var body bytes.Buffer
	h := w.Header()
	if wantsText(r) {
		h.Set("Content-Type", "text/plain; charset=utf-8")
		user := v.User
		if user == "" {
			user = "-"
		}
		fmt.Fprintf(&body, "%d %s %s %s\n", v.Items, v.Total, user, v.Node)
	} else if err := a.page.Execute(&body, v); err != nil {
		a.fail(w, r, err)
		return
	}
	h.Set("Cache-Control", "no-store") // each user's own, and new at each load
	h.Set("Vary", "Accept")
	h.Set(
		"Content-Security-Policy",
		"default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	)
	_, _ = w.Write(body.Bytes()) // the user may be gone
}

// view gathers what there is to see. It makes no session for those who only look.
func (a *shop) view(r *http.Request) (view, error) {
	v := view{Goods: goods, Node: a.c.Node()}
	s, ok := webapps.ExistingSession(r)
	if !ok {
		return v, nil
	}
	v.User, v.Session = s.Principal(), s.ID()
	v.Session = v.Session[:min(8, len(v.Session))]
	var err error
	v.contents, err = read(s)
	return v, err
}

// fail answers for what is not the user's fault.
func (a *shop) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, webapps.ErrIDChanged) {
		http.Error(w, "you have logged in or out in another tab meanwhile; nothing of this was saved: send it again", http.StatusConflict)
		return
	}
	a.c.Logger().Error("request not served", "method", r.Method, "path", r.URL.Path, "err", err)
	http.Error(w, "the cart could not be used", http.StatusInternalServerError)
}

func wantsText(r *http.Request) bool {
	return r.FormValue("format") == "text" || strings.HasPrefix(r.Header.Get("Accept"), "text/plain")
}
