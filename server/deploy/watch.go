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
	info    fs.FileInfo // as it was looked at last; nil: there is none
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

// watch looks at the folder of plugins until ctx ends, and redeploys the apps whose files
// have changed. To be called once, after Deploy.
func (t *Table) watch(ctx context.Context) {
	var events chan fsnotify.Event
	w, err := fsnotify.NewWatcher()
	if err == nil {
		defer func() { _ = w.Close() }() // nothing is lost
		if err = w.Add(t.cfg.Dir); err == nil {
			events = w.Events
		}
	}
	if err != nil {
		t.log.Warn("the folder of plugins is looked at from time to time only", "dir", t.cfg.Dir, "err", err, "dur", lookAgain)
	}
	look := time.NewTimer(0)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-events: // whatever it is: a name alone doesn't tell what its link leads to
			look.Reset(settleTime)
		case <-look.C:
			next := lookAgain
			if t.look() {
				next = settleTime
			}
			look.Reset(next)
		}
	}
}

// look redeploys what has changed, and tells whether a file is still changing.
func (t *Table) look() (again bool) {
	there, _ := plugins.Scan(t.cfg.Dir) // a folder that is gone has none
	for _, now := range there {
		if strings.HasPrefix(filepath.Base(now.Path), ".") {
			continue // on its way to its own name
		}
		f := t.files[now.Path]
		if f == nil {
			f = &file{}
			t.files[now.Path] = f
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
		f.settled = true
		t.reload(now.Path)
	}
	for name, f := range t.files {
		if f.info != nil && !slices.ContainsFunc(there, func(n plugins.File) bool { return n.Path == name }) {
			f.info, f.settled = nil, true
			t.log.Warn("the plugin's file is gone; its app is served until the node stops", "file", name)
		}
	}
	return again
}

// written tells whether somebody may still be writing the file.
func written(name string, since time.Time) bool {
	if open, known := openForWriting(name); known {
		return open
	}
	return time.Since(since) < stillTime
}

// reload redeploys the app of a plugin's file.
func (t *Table) reload(name string) {
	begun := time.Now()
	o, err := t.loader.Open(name)
	if err != nil {
		t.refused(t.placeOf(name), name, err)
		return
	}
	p := t.Find(o.App.Name)
	switch {
	case p == nil:
		t.log.Warn("a plugin brings an app that this node does not serve yet: restart the node to deploy it", "file", name, "app", o.App.Name)
		return
	case p.Origin() != name:
		t.refused(p, name, errors.New("app "+p.name+" is served from "+p.Origin()+": remove one"))
		return
	}
	if p.current.Load().Source == o.Revision {
		p.failure.Store(nil)
		return // touched, or put back
	}
	if err := t.Redeploy(p, o); err != nil {
		t.refused(p, name, err)
		return
	}
	p.log.Info("app redeployed", "version", o.App.Version, "revision", short(o.Revision), "file", name, "dur", time.Since(begun).Round(time.Millisecond))
}

func (t *Table) placeOf(file string) *Place {
	for p := range t.Each() {
		if p.Origin() == file {
			return p
		}
	}
	return nil
}

// refused notes why a plugin was not taken over.
func (t *Table) refused(p *Place, name string, err error) {
	if p == nil {
		t.log.Error("plugin refused", "file", name, "err", err)
		return
	}
	p.failure.Store(&Failure{At: time.Now(), Reason: err.Error()})
	t.log.Error("app not redeployed; the revision before goes on serving", withStack(err, "app", p.name, "file", name, "serves", short(p.current.Load().Source))...)
}

func short(hash string) string { return hash[:min(12, len(hash))] }
