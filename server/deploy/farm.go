package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/config"
)

// Peer is another member, or this node, as a deployment sees it. Each call says for which
// deployment it is made.
type Peer interface {
	Name() string
	Begin(ctx context.Context, d Deployment, app string) error
	Prepare(ctx context.Context, d Deployment, app, hash string) error
	Switch(ctx context.Context, d Deployment, e Entry) error
	End(ctx context.Context, d Deployment, app string) error
	Blob(ctx context.Context, hash string, to io.Writer) error
}

// Deployment says who asks for what is done.
type Deployment struct {
	ID       string        // drawn for each
	By       membership.ID // the member that leads it
	Operator string
}

// Farm deploys apps on all members. Safe for concurrent use.
type Farm struct {
	table   *Table
	store   store
	catalog *catalog
	keep    int
	log     *slog.Logger
	reach   func(m membership.Member) Peer
	channel *channel.Channel // nil before Join
	caught  atomic.Bool      // the node has got what the cluster hosts for the first time

	applying sync.Mutex        // one change by the catalog at a time
	failed   map[string]failed // by app; follow's own

	mu   sync.Mutex
	busy map[string]*claim // by app
}

// failed is when a build could not be deployed here; it is tried again after retryTime.
type failed struct {
	hash string
	at   time.Time
}

const retryTime = 10 * time.Second

// claim is a deployment that is under way here.
type claim struct {
	Deployment
	hash  string
	ready *prepared // nil: nothing, or it serves
}

// NewFarm opens the files in a folder; reach makes the way to a member.
func NewFarm(t *Table, dir string, keep int, self string, reach func(membership.Member) Peer, log *slog.Logger) (*Farm, error) {
	s, err := openStore(dir)
	if err != nil {
		return nil, err
	}
	c, err := openCatalog(filepath.Join(dir, "catalog.json"), self, log)
	if err != nil {
		return nil, err
	}
	for _, e := range c.list() {
		t.halt(e.App, e.Stopped)
	}
	return &Farm{
		table:   t,
		store:   s,
		catalog: c,
		keep:    max(keep, 1),
		log:     log,
		reach:   reach,
		failed:  map[string]failed{},
		busy:    map[string]*claim{},
	}, nil
}

// Join makes the catalog one with those of the other members. To be called before the channel runs.
func (f *Farm) Join(ch *channel.Channel) {
	f.channel = ch
	f.catalog.join(ch)
}

// Catalog is what the cluster hosts, by app, as far as it is known here.
func (f *Farm) Catalog() []Entry { return f.catalog.list() }

// Ready tells whether the node hosts what the cluster does, as far as it heard when it started.
func (f *Farm) Ready() bool { return f.caught.Load() }

// Run follows the catalog until ctx ends.
func (f *Farm) Run(ctx context.Context) {
	again := time.NewTicker(time.Second) // what failed may succeed
	defer again.Stop()
	for {
		f.follow(ctx)
		select {
		case <-ctx.Done():
			return
		case <-f.catalog.changed:
		case <-again.C:
		case <-f.soon():
		}
	}
}

// soon looks again before long while the node is not ready.
func (f *Farm) soon() <-chan time.Time {
	if f.caught.Load() {
		return nil
	}
	return time.After(stepTime)
}

// follow does what the catalog says.
func (f *Farm) follow(ctx context.Context) {
	f.releaseDead()
	known := f.table.isSettled() && f.catalog.caughtUp()
	list, here := f.catalog.list(), true
	for _, e := range list {
		if was := f.failed[e.App]; was.hash != e.Build.Hash || time.Since(was.at) > retryTime {
			f.try(ctx, e)
		}
		if p := f.table.Find(e.App); p != nil && p.State() == Joining {
			here = false
		}
	}
	f.retireVersions(ctx)
	if known && here {
		f.caught.Store(true)
	}
}

// try applies an entry, and notes if that can't be.
func (f *Farm) try(ctx context.Context, e Entry) {
	err := f.apply(ctx, e)
	switch {
	case err == nil || ctx.Err() != nil:
		delete(f.failed, e.App)
	case errors.Is(err, errLeaving): // soon it has left
	default:
		f.failed[e.App] = failed{e.Build.Hash, time.Now()}
		f.refuse(e, err)
	}
}

// refuse notes why an app of the catalog is not served here, and says so once.
func (f *Farm) refuse(e Entry, err error) {
	if p := f.table.Find(e.App); p != nil {
		if was := p.Failed(); was == nil || was.Reason != err.Error() {
			p.failure.Store(&Failure{At: time.Now(), Reason: err.Error()})
			p.log.Error("app not redeployed; the revision before goes on serving", withStack(err, "event", "notreplaced")...)
		}
		return
	}
	origin := f.store.path(e.Build.Hash)
	for _, d := range f.table.Down() {
		if d.Origin == origin && d.Err.Error() == err.Error() {
			return
		}
	}
	f.table.setDown(origin, Down{Name: e.App, Path: f.table.cfg.Settings(e.App).Session.Path, Origin: origin, Err: err, public: notStarted})
	f.log.Error("app is not served", withStack(err, "event", "notdeployed", "app", e.App)...)
}

var errLeaving = errors.New("the app is still being undeployed")

// apply makes the node serve what the entry says, unless a later one is known.
func (f *Farm) apply(ctx context.Context, e Entry) error {
	f.applying.Lock()
	defer f.applying.Unlock()
	if now, ok := f.catalog.entry(e.App); ok && now.later(e) {
		e = now
	}
	f.table.halt(e.App, e.Stopped)
	p, path := f.table.Find(e.App), f.store.path(e.Build.Hash)
	switch {
	case e.Build.Hash == "":
		if p != nil && filepath.Dir(p.Origin()) == f.store.dir {
			f.table.Undeploy(p, "undeployed by "+e.By)
		}
		return nil
	case p != nil && p.State() == Leaving:
		return errLeaving
	case p != nil && p.Origin() == path:
		return nil
	}
	r, err := f.made(ctx, e)
	if err != nil {
		return err
	}
	if err := f.table.take(r); err != nil {
		return err
	}
	f.store.prune(f.catalog.list())
	f.log.Info(
		"app deployed from the catalog", "event", "deployed", "app", e.App, "version", e.Build.Version, "revision",
		short(e.Build.Revision), "hash", short(e.Build.Hash), "by", e.By,
	)
	return nil
}

// made is the build of the entry, ready to serve: prepared before, or now.
func (f *Farm) made(ctx context.Context, e Entry) (*prepared, error) {
	f.mu.Lock()
	if c := f.busy[e.App]; c != nil && c.ready != nil && c.hash == e.Build.Hash {
		r := c.ready
		c.ready = nil
		f.mu.Unlock()
		return r, nil
	}
	f.mu.Unlock()
	if err := f.obtain(ctx, e.Build.Hash); err != nil {
		return nil, err
	}
	return f.load(e.App, e.Build.Hash)
}

// obtain gets a file from whichever member has it.
func (f *Farm) obtain(ctx context.Context, hash string) error {
	if f.store.has(hash) {
		return nil
	}
	err := errors.New("no member has the file " + short(hash))
	for _, m := range f.channel.Members() {
		if m.ID == f.channel.Self() || m.State == membership.Gone {
			continue
		}
		e := f.store.fetch(ctx, f.reach(m.Member), hash)
		if e == nil {
			return nil
		}
		err = fmt.Errorf("fetch the file %s from %s: %w", short(hash), m.Name, e)
	}
	return err
}

// load starts the build in a file.
func (f *Farm) load(app, hash string) (*prepared, error) {
	o, err := f.table.loader.Open(f.store.path(hash))
	if err != nil {
		return nil, err
	}
	if name, _ := config.SplitPlace(app); o.App.Name != name {
		return nil, fmt.Errorf("the file holds the app %s, not %s", o.App.Name, app)
	}
	o.App.Name = app
	return f.table.ready(o)
}

// here is this node as a Peer, and what it answers to others.
type here struct{ *Farm }

// Here is this node.
func (f *Farm) Here() Peer { return here{f} }

// Name is this node's.
func (h here) Name() string { return h.catalog.self }

// Begin takes the app for a deployment.
func (h here) Begin(_ context.Context, d Deployment, app string) error {
	h.releaseDead()
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.busy[app]; c != nil && c.ID != d.ID {
		return fmt.Errorf("another deployment of %s is under way, led by %s (operator %s)", app, c.By.Name, c.Operator)
	}
	if h.busy[app] == nil {
		h.busy[app] = &claim{Deployment: d}
	}
	return nil
}

// Prepare fetches the file from the member that leads the deployment, and starts the app.
func (h here) Prepare(ctx context.Context, d Deployment, app, hash string) error {
	if !aHash.MatchString(hash) {
		return fmt.Errorf("%.20q is no hash", hash)
	}
	if !h.store.has(hash) {
		leader, there := membership.Present(h.channel.Members(), d.By)
		if !there {
			return fmt.Errorf("%s, which leads the deployment, is no member here", d.By.Name)
		}
		if err := h.store.fetch(ctx, h.reach(leader.Member), hash); err != nil {
			return fmt.Errorf("fetch the file: %w", err)
		}
	}
	h.applying.Lock()
	defer h.applying.Unlock()
	if p := h.table.Find(app); p != nil && p.Origin() == h.store.path(hash) && p.State() != Leaving {
		return nil // it serves
	}
	r, err := h.load(app, hash)
	if err != nil {
		return errors.New(h.store.unnamed(err, hash))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.busy[app]
	if c == nil || c.ID != d.ID {
		go h.table.drop(r)
		return errors.New("the deployment was given up meanwhile")
	}
	c.hash, c.ready = hash, r
	return nil
}

// Switch takes over the entry.
func (h here) Switch(ctx context.Context, _ Deployment, e Entry) error {
	if err := h.catalog.merge([]Entry{e}, membership.ID{}); err != nil {
		return err
	}
	return h.apply(ctx, e)
}

// End gives the app back.
func (h here) End(_ context.Context, d Deployment, app string) error {
	h.mu.Lock()
	c := h.busy[app]
	if c != nil && c.ID == d.ID {
		delete(h.busy, app)
	} else {
		c = nil
	}
	h.mu.Unlock()
	h.free(c)
	return nil
}

// Blob copies a file.
func (h here) Blob(_ context.Context, hash string, to io.Writer) error {
	if !aHash.MatchString(hash) {
		return fmt.Errorf("%.20q is no hash", hash)
	}
	in, err := os.Open(h.store.path(hash))
	if err != nil {
		return fmt.Errorf("the file %s is not here", short(hash))
	}
	defer func() { _ = in.Close() }() // was only read
	_, err = io.Copy(to, in)
	return err
}

func (f *Farm) free(c *claim) {
	if c != nil && c.ready != nil {
		f.table.drop(c.ready)
	}
}

// releaseDead gives up what members have begun that are gone.
func (f *Farm) releaseDead() {
	var dead []*claim
	members := f.channel.Members() // this node among them
	f.mu.Lock()
	for app, c := range f.busy {
		if _, there := membership.Present(members, c.By); !there {
			dead = append(dead, c)
			delete(f.busy, app)
		}
	}
	f.mu.Unlock()
	for _, c := range dead {
		f.free(c)
	}
}
