package dev

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
)

// front is what the browser asks: it passes everything on, unless there is an error to show.
type front struct {
	proxy   *httputil.ReverseProxy
	problem atomic.Pointer[string] // nil: none
}

func newFront(target string) *front {
	f := &front{}
	f.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: target})
			r.SetXForwarded()
			r.Out.Host = r.In.Host
		},
		FlushInterval: -1, // at once, as the app does
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			page(w, r, http.StatusBadGateway, "the node does not answer: "+err.Error())
		},
	}
	f.show("the first build is under way")
	return f
}

// show shows a problem in the place of the app; "": none.
func (f *front) show(problem string) {
	if problem == "" {
		f.problem.Store(nil)
		return
	}
	f.problem.Store(&problem)
}

// ServeHTTP implements http.Handler.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p := f.problem.Load(); p != nil {
		page(w, r, http.StatusInternalServerError, *p)
		return
	}
	f.proxy.ServeHTTP(w, r)
}

// page tells the problem; a browser's page asks again by itself.
func page(w http.ResponseWriter, r *http.Request, status int, problem string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		http.Error(w, "nodeserver dev: "+problem, status)
		return
	}
	if r.Method == http.MethodGet {
		h.Set("Refresh", "1")
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<!doctype html>\n<title>nodeserver dev</title>\n<h1>nodeserver dev</h1>\n<pre>%s</pre>\n",
		html.EscapeString(problem))
}
