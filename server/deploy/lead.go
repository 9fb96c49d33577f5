package deploy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/config"
)

// Request is what an operator asks for.
type Request struct {
	Operator        string
	Version         string // of Deploy: which version of the app it is, beside others; empty: the only one
	SkipUnreachable bool   // members that can't be reached get the build when they are back
	// Step is called with how far it is: node is empty, or the member that something was done at. From any
	// goroutine.
	Step func(node, text string)
}

// Refused says that members can't take a build, or can't be asked: no member has changed anything.
type Refused struct{ Reasons map[string]string } //nolint:errname // as channel.Refusal

// Error names each node with its reason.
func (r *Refused) Error() string {
	return "nothing was changed on any node:" + lines(r.Reasons)
}

// lines are the reasons, a line for each node.
func lines(reasons map[string]string) (text string) {
	for _, node := range slices.Sorted(maps.Keys(reasons)) {
		text += "\n  " + node + ": " + strings.ReplaceAll(reasons[node], "\n", "\n  ")
	}
	return text
}

// Deploy makes all members serve the build that comes out of r: those that are there now, and
// those that come later. Either all are able to serve it and then do, or nothing has changed.
func (f *Farm) Deploy(ctx context.Context, r io.Reader, q Request) (Entry, error) {
	hash, err := f.store.put(r)
	if err != nil {
		return Entry{}, fmt.Errorf("keep the file: %w", err)
	}
	o, err := f.table.loader.Open(f.store.path(hash))
	if err != nil {
		f.store.drop(hash, f.catalog.list())
		return Entry{}, &Refused{map[string]string{f.catalog.self: f.store.unnamed(err, hash)}}
	}
	if q.Version != "" {
		o.App.Name += "##" + q.Version
	}
	if !config.PlaceName(o.App.Name) {
		f.store.drop(hash, f.catalog.list())
		return Entry{}, fmt.Errorf("%.100q can't be the name of a version: it has 1 to 32 of A-Z a-z 0-9 . -", o.App.Name)
	}
	b := Build{Hash: hash, Version: o.App.Version, Revision: o.Revision}
	return f.lead(ctx, change{app: o.App.Name, build: b, did: "has switched to it"}, q)
}

// Rollback makes all members serve the build before.
func (f *Farm) Rollback(ctx context.Context, app string, q Request) (Entry, error) {
	e, ok := f.catalog.entry(app)
	if !ok || len(e.History) == 0 {
		return Entry{}, fmt.Errorf("the catalog has no build of %q before the present one", app)
	}
	if err := f.obtain(ctx, e.History[0].Hash); err != nil {
		return Entry{}, err
	}
	return f.lead(ctx, change{app: app, build: e.History[0], did: "has switched to it"}, q)
}

// Undeploy takes the app from all members.
func (f *Farm) Undeploy(ctx context.Context, app string, q Request) (Entry, error) {
	if e, ok := f.catalog.entry(app); !ok || e.Build.Hash == "" {
		return Entry{}, fmt.Errorf("the catalog has no app %q: what comes from a node's own folder goes with its file", app)
	}
	return f.lead(ctx, change{app: app, did: "serves it no more"}, q)
}

// Stop has no member serve users of the app, wherever it comes from, until Start, also after restarts.
// Its sessions stay.
func (f *Farm) Stop(ctx context.Context, app string, q Request) (Entry, error) {
	return f.halt(ctx, change{app: app, stop: new(true), did: "has stopped it"}, q)
}

// Start has all members serve users of the app again.
func (f *Farm) Start(ctx context.Context, app string, q Request) (Entry, error) {
	return f.halt(ctx, change{app: app, stop: new(false), did: "serves it"}, q)
}

func (f *Farm) halt(ctx context.Context, c change, q Request) (Entry, error) {
	e, _ := f.catalog.entry(c.app)
	if e.Build.Hash == "" && !e.Stopped && !f.known(c.app) {
		return Entry{}, fmt.Errorf("no node hosts an app %q: see nodeserver apps list", c.app)
	}
	return f.lead(ctx, c, q)
}

// known tells whether a member hosts the app, this node among them.
func (f *Farm) known(app string) bool {
	return f.table.Find(app) != nil ||
		slices.ContainsFunc(f.channel.Members(), func(m membership.Status) bool { return m.State != membership.Gone && m.Hosts(app) })
}

// change is what all members are to do with an app.
type change struct {
	app   string
	build Build  // that they are to serve; none: they undeploy it
	stop  *bool  // not nil: the build stays, and users are no more served, or again
	did   string // what a member has done in the end
}

// write makes the change an entry of the catalog. An app that is stopped stays so with another build.
func (f *Farm) write(c change, by string) (Entry, error) {
	was, _ := f.catalog.entry(c.app)
	stopped := was.Stopped && c.build.Hash != ""
	if c.stop != nil {
		c.build, stopped = was.Build, *c.stop
	}
	return f.catalog.write(c.app, c.build, stopped, by, f.keep)
}

// lead takes the members through a change.
func (f *Farm) lead(ctx context.Context, c change, q Request) (Entry, error) {
	app, b := c.app, c.build
	d := Deployment{ID: rand.Text(), By: f.channel.Self(), Operator: q.Operator}
	peers, err := f.peers(q)
	if err != nil {
		return Entry{}, err
	}
	end := func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		each(peers, func(p Peer) error { return p.End(ending, d, app) })
	}
	defer end()
	for _, p := range peers { // in the order of their names, so that of two deployments one goes on
		if err := p.Begin(ctx, d, app); err != nil {
			return Entry{}, &Refused{map[string]string{p.Name(): err.Error()}}
		}
	}
	if b.Hash != "" {
		reasons := each(peers, func(p Peer) error {
			q.Step(p.Name(), "gets the file, loads it and starts the app")
			err := p.Prepare(ctx, d, app, b.Hash)
			if err == nil {
				q.Step(p.Name(), "is able to serve it")
			}
			return err
		})
		if len(reasons) > 0 {
			return Entry{}, &Refused{reasons}
		}
	}
	if err := ctx.Err(); err != nil {
		return Entry{}, err
	}
	e, err := f.write(c, q.Operator)
	if err != nil {
		return Entry{}, err
	}
	f.log.Info(
		"an operator changes what the cluster hosts", "event", "catalog", "app", app, "version", e.Build.Version, "revision",
		short(e.Build.Revision), "hash", short(e.Build.Hash), "stopped", e.Stopped, "operator", q.Operator, "deployment", d.ID,
	)
	late := each(peers, func(p Peer) error {
		err := p.Switch(context.WithoutCancel(ctx), d, e)
		if err == nil {
			q.Step(p.Name(), c.did)
		}
		return err
	})
	if len(late) > 0 {
		return e, fmt.Errorf("the catalog has it, and each node follows as soon as it can; not yet:%s", lines(late))
	}
	return e, nil
}

// peers are the members that have to agree, by name, this node among them.
func (f *Farm) peers(q Request) ([]Peer, error) {
	away := map[string]string{}
	var list []Peer
	for _, m := range f.channel.Members() { // by name
		switch {
		case m.ID == f.channel.Self():
			list = append(list, f.Here())
		case m.State == membership.Alive:
			list = append(list, f.reach(m.Member))
		case m.Ended: // it gets what the catalog says when it comes back
		default:
			away[m.Name] = "can't be reached (" + m.State.String() + "): wait for it, " +
				"or deploy with --skip-unreachable, and it follows when it is back"
		}
	}
	if len(away) > 0 && !q.SkipUnreachable {
		return nil, &Refused{away}
	}
	return list, nil
}

// each calls do for all at once, and returns the reasons of those that failed.
func each(peers []Peer, do func(Peer) error) map[string]string {
	var mu sync.Mutex
	var all sync.WaitGroup
	reasons := map[string]string{}
	for _, p := range peers {
		all.Go(func() {
			if err := do(p); err != nil {
				mu.Lock()
				defer mu.Unlock()
				reasons[p.Name()] = err.Error()
			}
		})
	}
	all.Wait()
	return reasons
}

// ErrNoStore is why a node without a folder of its own takes no deployments.
var ErrNoStore = errors.New("this node keeps no files: set [node] data_dir on each node of the cluster, and restart it")
