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
)

// Request is what an operator asks for.
type Request struct {
	Operator        string
	SkipUnreachable bool // members that can't be reached get the build when they are back
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
	return f.lead(ctx, o.App.Name, Build{Hash: hash, Version: o.App.Version, Revision: o.Revision}, q)
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
	return f.lead(ctx, app, e.History[0], q)
}

// Undeploy takes the app from all members.
func (f *Farm) Undeploy(ctx context.Context, app string, q Request) (Entry, error) {
	if e, ok := f.catalog.entry(app); !ok || e.Build.Hash == "" {
		return Entry{}, fmt.Errorf("the catalog has no app %q: what comes from a node's own folder goes with its file", app)
	}
	return f.lead(ctx, app, Build{}, q)
}

// lead takes the members through a deployment.
func (f *Farm) lead(ctx context.Context, app string, b Build, q Request) (Entry, error) {
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
	e, err := f.catalog.write(app, b, q.Operator, f.keep)
	if err != nil {
		return Entry{}, err
	}
	f.log.Info(
		"an operator changes what the cluster hosts", "event", "catalog", "app", app, "version", b.Version, "revision",
		short(b.Revision), "hash", short(b.Hash), "operator", q.Operator, "deployment", d.ID,
	)
	did := "serves it"
	if b.Hash == "" {
		did = "serves it no more"
	}
	late := each(peers, func(p Peer) error {
		err := p.Switch(context.WithoutCancel(ctx), d, e)
		if err == nil {
			q.Step(p.Name(), did)
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
