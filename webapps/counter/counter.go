// Package counter is the smallest webapp worth looking at: a page that counts a
// user's visits and says which node served it. Kill that node, load the page
// again, and the count goes on elsewhere.
//
// The page is HTML; asked with ?format=text or an Accept of text/plain it
// answers "N NODE" instead, for shells and tests.
package counter

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/nodeserver/nodeserver/webapps"
)

// Webapp is the app, as a plugin exports it.
func Webapp() webapps.App {
	return webapps.App{Name: "counter", Version: "1", New: newHandler}
}

//go:embed page.html
var page string

func newHandler(c webapps.Context) (http.Handler, error) {
	t, err := template.New("page").Parse(page)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		serve(w, r, c, t)
	})
	return mux, nil
}

// visit is what the page shows.
type visit struct {
	Count int
	Node  string
	Age   time.Duration
	ID    string
}

func serve(w http.ResponseWriter, r *http.Request, c webapps.Context, t *template.Template) {
	v, err := count(webapps.SessionOf(r))
	if err != nil {
		c.Logger().Error("visit not counted", "sid", v.ID, "err", err)
		http.Error(w, "the visit could not be counted", http.StatusInternalServerError)
		return
	}
	v.Node = c.Node()
	var body bytes.Buffer
	if wantsText(r) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintf(&body, "%d %s\n", v.Count, v.Node)
	} else if err := t.Execute(&body, v); err != nil {
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Cache-Control", "no-store") // each load is a visit
	w.Header().Set("Vary", "Accept")
	_, _ = w.Write(body.Bytes()) // the user may be gone
}

// count adds one visit. Update keeps two tabs that load at once from counting
// as one.
func count(s *webapps.Session) (visit, error) {
	v := visit{ID: s.ID(), Age: time.Since(s.Created()).Round(time.Second)}
	err := s.Update("n", &v.Count, func() error {
		v.Count++
		return nil
	})
	return v, err
}

func wantsText(r *http.Request) bool {
	return r.FormValue("format") == "text" || strings.HasPrefix(r.Header.Get("Accept"), "text/plain")
}
