package balance

import (
	"html/template"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/config"
)

// App is a webapp that a node hosts.
type App struct {
	Name string
	Path string // where it is served; begins and ends with a slash
}

// appsOf are the apps that the member hosts, not nil.
func appsOf(m membership.Member) []App {
	list := make([]App, 0, len(m.Apps))
	for _, name := range m.Apps {
		app, _ := config.SplitPlace(name) // versions of an app share its path
		list = append(list, App{app, m.Path(name)})
	}
	return list
}

// hosts tells whether the node serves the path of an app. Called with pool.mu held.
func (n *node) hosts(path string) bool {
	return n.Apps == nil || slices.ContainsFunc(n.Apps, func(a App) bool { return a.Path == path })
}

// place is where a request's path leads.
type place struct {
	path  string // of an app; empty: of none that was ever known
	app   string // its name
	there bool   // some node hosts it, or may do so
	blind bool   // there is no node at all
}

// place finds the app whose path is the longest that fits, among all that were ever known: while
// nobody hosts it, the app of a shorter path must not get its requests.
func (p *pool) place(urlPath string) place {
	p.mu.Lock()
	defer p.mu.Unlock()
	to := place{blind: len(p.nodes) == 0}
	for at := prefix(urlPath, p.longest); at != ""; at = at[:strings.LastIndexByte(at[:len(at)-1], '/')+1] {
		if app, ok := p.apps[at]; ok {
			to.path, to.app = at, app
			break
		}
	}
	to.there = slices.ContainsFunc(p.nodes, func(n *node) bool { return n.hosts(to.path) })
	return to
}

// prefix is the start of the path that can be an app's, of at most so many bytes, with a slash at
// its end: of /a/b, it is /a/b/, since a node leads from there to that.
func prefix(urlPath string, most int) string {
	if !strings.HasPrefix(urlPath, "/") {
		return ""
	}
	if urlPath = path.Clean(urlPath); urlPath != "/" {
		urlPath += "/"
	}
	if len(urlPath) > most {
		urlPath = urlPath[:most]
		urlPath = urlPath[:strings.LastIndexByte(urlPath, '/')+1]
	}
	return urlPath
}

// maxApps bounds what is remembered of apps that nobody hosts any more.
const maxApps = 4096

// learn takes over which apps there are. Called with mu held.
func (p *pool) learn(apps []App) {
	for _, a := range apps {
		if _, ok := p.apps[a.Path]; ok || len(p.apps) < maxApps {
			p.apps[a.Path] = a.Name
			p.longest = max(p.longest, len(a.Path))
		}
	}
}

// hosted are the apps that some node hosts, by path.
func (p *pool) hosted() (list []App) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.nodes {
		list = append(list, n.Apps...)
	}
	slices.SortFunc(list, func(a, b App) int { return strings.Compare(a.Path, b.Path) })
	return slices.CompactFunc(list, func(a, b App) bool { return a.Path == b.Path })
}

// answerAlone answers a request that is for no node.
func (b *Balancer) answerAlone(w http.ResponseWriter, r *http.Request, to place) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	status := http.StatusNotFound
	switch {
	case to.path != "":
		b.stats.failed()
		h.Set("Retry-After", "1")
		status = http.StatusServiceUnavailable
		http.Error(w, "503: no node that is there serves the app "+to.app+" at the moment.", status)
	case r.URL.Path == "/" && b.cfg.ListApps && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		status = http.StatusOK
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'")
		_ = appList.Execute(w, b.pool.hosted()) // the user may have gone
	default:
		http.Error(w, "404: no app is served at this path.", status)
	}
	b.metrics.answered("", status, 0)
}

var appList = template.Must(template.New("apps").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Apps</title>
<h1>Apps</h1>
<ul>
{{range .}}<li><a href="{{.Path}}">{{.Name}}</a></li>
{{else}}<li>There are none at the moment.</li>
{{end}}</ul>
</html>
`))
