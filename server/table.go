package server

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/nodeserver/nodeserver/server/plugins"
	"github.com/nodeserver/nodeserver/server/session"
	"github.com/nodeserver/nodeserver/webapps"
)

// table holds the node's apps and whether each is served. It is complete once New has
// returned and does not change after.
type table struct {
	up   []*app    // served, sorted by name
	down []downApp // not served, sorted by name and origin
}

// downApp is an app that this node was given and does not serve.
type downApp struct {
	name   string // as far as it is known: of the app, else of the plugin's file
	path   string // like an app's; empty: there is none, or an app that is served has it
	origin string // like an app's
	public string // the reason, for users
	err    error  // the reason, for operators
}

// What users are told: nothing of this node's files, and nothing an author wrote.
const (
	notLoaded  = "it could not be loaded"
	notStarted = "it could not be started"
	ambiguous  = "two apps want its place"
)

// candidate is an app on its way into the table.
type candidate struct {
	downApp // err is nil as long as nothing is wrong

	webapp webapps.App
	app    *app
}

// fail notes the first reason why the candidate is not served.
func (c *candidate) fail(public string, err error) {
	if c.err == nil {
		c.public, c.err = public, err
	}
}

// deployAll deploys the apps compiled in and those found as plugins. The error is of
// the folder of the plugins or, with webapps.strict, of the apps that can't be served.
func (s *Server) deployAll(compiled []webapps.App) error {
	all, err := s.candidates(compiled)
	if err != nil {
		return err
	}
	apart(all, func(c *candidate) string { return c.name }, "app %s is there twice: %s and %s: remove one")
	apart(all, func(c *candidate) string { return c.path }, "the path %s is wanted by two apps: %s and %s: give one another in its [[app]] path")
	s.startAll(all)
	var problems []error
	for _, c := range all {
		if c.err == nil {
			s.apps.up = append(s.apps.up, c.app)
			continue
		}
		problems = append(problems, c.err)
		s.apps.down = append(s.apps.down, c.downApp)
	}
	if s.cfg.Webapps.Strict && len(problems) > 0 {
		return errors.Join(problems...)
	}
	s.apps.sort()
	s.tellDown()
	return nil
}

// candidates are all apps that the node was given, with their names and paths.
func (s *Server) candidates(compiled []webapps.App) ([]*candidate, error) {
	var all []*candidate
	add := func(w webapps.App, origin string) *candidate {
		c := &candidate{downApp: downApp{name: w.Name, origin: origin}, webapp: w}
		all = append(all, c)
		return c
	}
	for _, w := range compiled {
		add(w, "compiled in")
	}
	if s.cfg.Webapps.Dir != "" {
		opened, err := plugins.NewLoader().OpenDir(s.cfg.Webapps.Dir)
		if err != nil {
			return nil, err
		}
		for _, o := range opened {
			c := add(o.Plugin.App, o.File)
			if o.Err != nil {
				c.name = strings.TrimSuffix(filepath.Base(o.File), ".so")
				c.fail(notLoaded, o.Err)
			}
		}
	}
	for _, c := range all {
		c.name = strings.ToValidUTF8(c.name, "?") // for logs and metrics, where it may be anything
		switch {
		case !appName.MatchString(c.name):
			c.fail(notLoaded, fmt.Errorf("%s: the app calls itself %q: a name has 1 to 64 of a-z 0-9 -", c.origin, c.name))
			continue // no name, no path
		case c.err == nil && c.webapp.New == nil:
			c.fail(notLoaded, fmt.Errorf("%s: app %s has no New function", c.origin, c.name))
		}
		c.path = s.settings(c.name).Path
	}
	return all, nil
}

// apart fails those that could be served but for having the same key: which of them
// was meant can't be known.
func apart(all []*candidate, key func(*candidate) string, problem string) {
	first := map[string]*candidate{}
	for _, c := range all {
		if c.err != nil {
			continue
		}
		k := key(c)
		if f := first[k]; f == nil {
			first[k] = c
		} else {
			err := fmt.Errorf(problem, k, f.origin, c.origin)
			defer f.fail(ambiguous, err) // once the others are compared with it
			c.fail(ambiguous, err)
		}
	}
}

// startAll calls the New of all at once, so that those that hang take no longer than one.
func (s *Server) startAll(all []*candidate) {
	var starting sync.WaitGroup
	for _, c := range all {
		if c.err != nil {
			continue
		}
		starting.Go(func() {
			c.app = s.place(c.webapp, c.origin)
			if err := c.app.start(c.webapp.New); err != nil {
				c.fail(notStarted, err)
			}
		})
	}
	starting.Wait()
}

// sort puts the table in order, and takes from apps that are not served the paths
// of those that are.
func (t *table) sort() {
	slices.SortFunc(t.up, func(a, b *app) int { return cmp.Compare(a.name, b.name) })
	slices.SortFunc(t.down, func(a, b downApp) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.origin, b.origin))
	})
	taken := map[string]bool{}
	for _, a := range t.up {
		taken[a.path] = true
	}
	for i := range t.down {
		d := &t.down[i]
		if taken[d.path] {
			d.path = ""
		}
		taken[d.path] = true
	}
}

// tellDown logs which apps are not served, and settings that nobody uses.
func (s *Server) tellDown() {
	for _, d := range s.apps.down {
		args := []any{"app", d.name, "path", d.path, "origin", d.origin, "err", d.err}
		if p, ok := errors.AsType[*plugins.PanicError](d.err); ok {
			args = append(args, "stack", string(p.Stack))
		}
		s.log.Error("app is not served", args...)
	}
	for _, c := range s.cfg.Apps {
		if !s.apps.has(c.Name) {
			s.log.Warn("settings for an app that is not deployed", "app", c.Name)
		}
	}
}

// has tells whether the node was given an app of this name.
func (t *table) has(name string) bool {
	return slices.ContainsFunc(t.up, func(a *app) bool { return a.name == name }) ||
		slices.ContainsFunc(t.down, func(d downApp) bool { return d.name == name })
}

// states are the names of all apps and whether each is served.
func (t *table) states() map[string]bool {
	states := map[string]bool{}
	for _, d := range t.down {
		states[d.name] = false
	}
	for _, a := range t.up {
		states[a.name] = true
	}
	return states
}

// mux leads requests to the apps.
func (t *table) mux() *http.ServeMux {
	mux := http.NewServeMux()
	for _, a := range t.up {
		mux.Handle(a.path, a)
	}
	for _, d := range t.down {
		if d.path != "" {
			mux.Handle(d.path, d)
		}
	}
	return mux
}

// ServeHTTP answers in the app's place; a front door may ask another node.
func (d downApp) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	session.Decline(w, fmt.Sprintf("the app %s is not served by this node: %s", d.name, d.public))
}
