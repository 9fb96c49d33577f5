package deploy

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/plugins"
)

const (
	// stillTime is for how long a plugin's file must not have changed before it is loaded,
	// where it can't be known that nobody has it open for writing.
	stillTime = time.Second
	// settleTime gathers the events of one change.
	settleTime = 50 * time.Millisecond
	// lookAgain is for changes that no event tells of, as those behind a symbolic link.
	lookAgain = 2 * time.Second
)

// file is what is known of one plugin's file.
type file struct {
	info    fs.FileInfo // as it was looked at last; nil: it is gone
	since   time.Time   // when that was first seen
	settled bool        // it was loaded, or refused, as it is
}

// same tells two contents of a name apart, whether it is written in place, replaced, or a
// symbolic link to another file.
func same(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// folder is the folder of plugins. It belongs to Deploy, and then to watch.
type folder struct {
	table *Table
	dir   string
	files map[string]*file // by path
}

// watch looks at the folder of plugins until ctx ends, deploys the apps whose files are new,
// redeploys those whose files have changed, and undeploys those whose files are gone. To be called once, after Deploy.
func (d *folder) watch(ctx context.Context) {
	var events chan fsnotify.Event
	var faults chan error
	w, err := fsnotify.NewWatcher()
	if err == nil {
		defer func() { _ = w.Close() }() // nothing is lost
		if err = w.Add(d.dir); err == nil {
			events, faults = w.Events, w.Errors
		}
	}
	if err != nil {
		d.table.log.Warn("the folder of plugins is looked at from time to time only", "dir", d.dir, "err", err, "dur", lookAgain)
	}
	look := time.NewTimer(0)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-events: // whatever it is: a name alone doesn't tell what its link leads to
			look.Reset(settleTime)
		case err := <-faults: // more events than there was room for: what they told is looked up
			d.table.log.Debug("events of the folder of plugins are missing", "dir", d.dir, "err", err)
			look.Reset(settleTime)
		case <-look.C:
			next := lookAgain
			if d.look() {
				next = settleTime
			}
			look.Reset(next)
		}
	}
}

// look deploys what has changed, and tells whether a file is still changing.
func (d *folder) look() (again bool) {
	there, _ := plugins.Scan(d.dir) // a folder that is gone has none
	for name, f := range d.files {
		if !slices.ContainsFunc(there, func(n plugins.File) bool { return n.Path == name }) {
			d.missing(name, f)
		}
	}
	for _, now := range there {
		if strings.HasPrefix(filepath.Base(now.Path), ".") {
			continue // on its way to its own name
		}
		f := d.files[now.Path]
		if f == nil {
			f = &file{}
			d.files[now.Path] = f
		}
		if !same(now.Info, f.info) {
			f.info, f.since, f.settled = now.Info, time.Now(), false
		}
		if f.settled || f.info == nil {
			continue
		}
		if written(now.Path, f.since) {
			again = true
			continue
		}
		f.settled = d.reload(now.Path)
	}
	return again
}

// missing undeploys the app of a file that is gone, once it has been so for webapps.drain: a file
// may be removed and copied anew. What stood in its way may be deployed then.
func (d *folder) missing(name string, f *file) {
	p := d.placeOf(name)
	if f.info != nil {
		f.info, f.since = nil, time.Now()
		if p != nil {
			p.log.Warn(
				"the plugin's file is gone; the app will be undeployed unless the file comes back",
				"file", name, "dur", d.table.cfg.Drain,
			)
		}
	}
	switch {
	case p == nil:
		d.table.setDown(name, Down{})
	case time.Since(f.since) < d.table.cfg.Drain:
		return
	default:
		d.table.Undeploy(p, "its file is gone: "+name)
	}
	delete(d.files, name)
	d.retry()
}

// retry has the files looked at again from which nothing is served.
func (d *folder) retry() {
	for name, f := range d.files {
		f.settled = f.settled && d.placeOf(name) != nil
	}
}

// written tells whether somebody may still be writing the file.
func written(name string, since time.Time) bool {
	if open, known := openForWriting(name); known {
		return open
	}
	return time.Since(since) < stillTime
}

// reload deploys or redeploys the app of a plugin's file. False: it is to be tried again.
func (d *folder) reload(name string) bool {
	t := d.table
	begun := time.Now()
	o, err := t.loader.Open(name)
	before := d.placeOf(name)
	if err != nil {
		d.refused(before, name, strings.TrimSuffix(filepath.Base(name), ".so"), err)
		return true
	}
	p, did := t.Find(o.App.Name), "app redeployed"
	switch {
	case p == nil:
		did, err = "app deployed", t.Add(o)
	case p.State() == Leaving:
		return false
	case p.Origin() != name && d.exists(p.Origin()):
		err = errors.New("app " + p.name + " is served from " + p.Origin() + ": remove one")
	case p.Origin() == name && p.current.Load().Source == o.Revision:
		p.failure.Store(nil)
		return true // touched, or put back
	default: // or the file has another name
		err = t.Redeploy(p, o)
	}
	if err != nil {
		d.refused(p, name, o.App.Name, err)
		return true
	}
	t.setDown(name, Down{})
	args := []any{"event", "deployed", "app", o.App.Name, "version", o.App.Version, "revision", short(o.Revision), "file", name}
	t.log.Info(did, append(args, "dur", time.Since(begun).Round(time.Millisecond))...) //nolint:sloglint // both are constants
	if before != nil && before.name != o.App.Name {
		t.Undeploy(before, "its file holds another app: "+name)
	}
	return true
}

// exists tells whether an app's origin is still there.
func (d *folder) exists(origin string) bool {
	f := d.files[origin]
	return f == nil || f.info != nil // what is compiled in is no file
}

func (d *folder) placeOf(file string) *Place {
	for p := range d.table.Each() {
		if p.Origin() == file {
			return p
		}
	}
	return nil
}

// refused notes why a plugin was not taken over: at the app that it would have served, if there
// is one.
func (d *folder) refused(p *Place, name, app string, err error) {
	t := d.table
	if p == nil {
		d := Down{Name: strings.ToValidUTF8(app, "?"), Origin: name, Err: err, public: notStarted}
		if config.PlaceName(d.Name) {
			d.Path = t.cfg.Settings(d.Name).Session.Path
		}
		t.setDown(name, d)
		t.log.Error("app is not served", withStack(err, "event", "notdeployed", "app", d.Name, "file", name)...)
		return
	}
	p.failure.Store(&Failure{At: time.Now(), Reason: err.Error()})
	t.log.Error(
		"app not redeployed; the revision before goes on serving",
		withStack(err, "event", "notreplaced", "app", p.name, "file", name, "serves", short(p.current.Load().Source))...)
}

func short(hash string) string { return hash[:min(12, len(hash))] }
