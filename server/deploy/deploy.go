package deploy

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/plugins"
	"github.com/nodeserver/nodeserver/server/session"
	"github.com/nodeserver/nodeserver/webapps"
)

// What users read: nothing of this node's files, and nothing an author wrote.
const (
	notLoaded  = "it could not be loaded"
	notStarted = "it could not be started"
	ambiguous  = "two apps want its place"
)

// candidate is an app on its way into the table.
type candidate struct {
	Down // Err is nil as long as nothing is wrong

	app      webapps.App
	source   string // like a Revision's
	settings Settings
	place    *Place
}

// fail notes the first reason why the candidate is not served.
func (c *candidate) fail(public string, err error) {
	if c.Err == nil {
		c.public, c.Err = public, err
	}
}

// Deploy deploys the apps compiled in and those found as plugins. It waits for each app's New
// for 30 s at most. An app that can't be loaded or started, or whose name or path two have, is
// not served, but Down. The error is of the folder of the plugins or, with Config.Strict, of
// the apps that can't be served. To be called once, before anything else.
func (t *Table) Deploy(compiled []webapps.App) error {
	all, err := t.candidates(compiled)
	if err != nil {
		return err
	}
	apart(all, func(c *candidate) string { return c.Name }, "app %s is there twice: %s and %s: remove one")
	apart(
		all,
		func(c *candidate) string { return c.Path },
		"the path %s is wanted by two apps: %s and %s: give one another in its [[app]] path",
	)
	t.startAll(all)
	var up []*Place
	var down []Down
	var problems []error
	for _, c := range all {
		if c.Err == nil {
			up = append(up, c.place)
			continue
		}
		problems = append(problems, c.Err)
		down = append(down, c.Down)
	}
	if t.cfg.Strict && len(problems) > 0 {
		return errors.Join(problems...)
	}
	t.store(up, down)
	t.tellDown()
	return nil
}

// candidates are all apps that the node was given, with their names and paths.
func (t *Table) candidates(compiled []webapps.App) ([]*candidate, error) {
	var all []*candidate
	add := func(w webapps.App, origin string) *candidate {
		c := &candidate{Down: Down{Name: w.Name, Origin: origin}, app: w}
		all = append(all, c)
		return c
	}
	for _, w := range compiled {
		add(w, "compiled in")
	}
	if t.cfg.Dir != "" {
		opened, err := t.loader.OpenDir(t.cfg.Dir)
		if err != nil {
			return nil, err
		}
		for _, o := range opened {
			t.plugins.files[o.File.Path] = &file{info: o.File.Info, settled: true}
			c := add(o.Plugin.App, o.File.Path)
			c.source = o.Plugin.Revision
			if o.Err != nil {
				c.Name = strings.TrimSuffix(filepath.Base(o.File.Path), ".so")
				c.fail(notLoaded, o.Err)
			}
		}
	}
	for _, c := range all {
		c.Name = strings.ToValidUTF8(c.Name, "?") // for logs and metrics, where it may be anything
		switch {
		case !config.PlaceName(c.Name):
			c.fail(notLoaded, fmt.Errorf("%s: the app calls itself %q: a name has 1 to 64 of a-z 0-9 -", c.Origin, c.Name))
			continue // no name, no path
		case c.Err == nil && c.app.New == nil:
			c.fail(notLoaded, fmt.Errorf("%s: app %s has no New function", c.Origin, c.Name))
		}
		c.settings = t.cfg.Settings(c.Name)
		c.Path = c.settings.Session.Path
	}
	return all, nil
}

// apart fails those that could be served but for having the same key: which of them
// was meant can't be known.
func apart(all []*candidate, key func(*candidate) string, problem string) {
	first := map[string]*candidate{}
	for _, c := range all {
		if c.Err != nil {
			continue
		}
		k := key(c)
		if f := first[k]; f == nil {
			first[k] = c
		} else if f.Name == c.Name || !sameApp(f.Name, c.Name) { // versions share a path

			err := fmt.Errorf(problem, k, f.Origin, c.Origin)
			defer f.fail(ambiguous, err) // once the others are compared with it
			c.fail(ambiguous, err)
		}
	}
}

// startAll calls the New of all at once, so that those that hang take no longer than one.
func (t *Table) startAll(all []*candidate) {
	var starting sync.WaitGroup
	for _, c := range all {
		if c.Err != nil {
			continue
		}
		starting.Go(func() {
			c.place = t.newPlace(c.settings)
			v, err := c.place.start(t.life, c.app, c.Origin, c.source)
			if err != nil {
				c.fail(notStarted, err)
				return
			}
			c.place.swap(v)
		})
	}
	starting.Wait()
}

// tellDown logs which apps are not served, and settings that nobody uses.
func (t *Table) tellDown() {
	for _, d := range t.Down() {
		t.log.Error("app is not served", withStack(d.Err, "event", "notdeployed", "app", d.Name, "path", d.Path, "origin", d.Origin)...)
	}
	states := map[string]bool{}
	for name := range t.States() {
		app, _ := config.SplitPlace(name)
		states[app] = true
	}
	for _, name := range t.cfg.Named {
		if _, ok := states[name]; !ok {
			t.log.Warn("settings for an app that is not deployed", "app", name)
		}
	}
}

// withStack adds to what is logged of an error of an app: it, and where the app panicked.
func withStack(err error, args ...any) []any {
	args = append(args, "err", err)
	if p, ok := errors.AsType[*plugins.PanicError](err); ok {
		args = append(args, "stack", string(p.Stack))
	}
	return args
}

// newPlace makes an app's place: its sessions and what carries their changes. To the other
// members it is a life of its own: what they know of an earlier one, which has ended with all that
// it held, does not count for it.
func (t *Table) newPlace(c Settings) *Place {
	c.Session.Sessions.Self.Incarnation = membership.NewIncarnation()
	p := &Place{
		name: c.Session.App, path: c.Session.Path, node: c.Session.Node, config: c.Config,
		log: t.log.With("app", c.Session.App), group: new(group), resident: t.residents(c.Session.App),
		life: c.Session.Sessions.Self.Incarnation,
	}
	p.sessions = session.New(c.Session, t.cfg.Members, p.group, p.log)
	p.group.manager = p.sessions.Manager()
	return p
}

// residents are the revisions of an app that are in the process, for good: they outlive its
// places, of which there is one at a time.
func (t *Table) residents(app string) map[string]bool {
	t.changing.Lock()
	defer t.changing.Unlock()
	if t.resident[app] == nil {
		t.resident[app] = map[string]bool{}
	}
	return t.resident[app]
}
