package deploy

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/server/plugins"
	"github.com/nodeserver/nodeserver/server/session"
)

// Config says where the apps come from and what they are given.
type Config struct {
	Dir    string   // folder of plugins, NAME.so; empty: none
	Strict bool     // an app that can't be served is an error of Deploy
	Named  []string // the apps that have settings of their own
	// Settings are what an app of this name is given here, whether or not it is there.
	Settings func(app string) Settings
	Members  session.Members

	Watch        bool          // redeploy apps whose files change while the node runs
	Drain        time.Duration // for a revision that was replaced to end its requests and clean up
	MaxRevisions int           // of an app in the process; 0: no limit
}

// Settings are what an app is given.
type Settings struct {
	Config  map[string]any // for its Context.Config
	Session session.Config // App is its name, Path is where it is served
}

// Table holds the node's apps, and whether each is served. Safe for concurrent use.
type Table struct {
	cfg  Config
	log  *slog.Logger
	life context.Context //nolint:containedctx // ends when apps are to stop
	stop context.CancelFunc
	listing

	loader   *plugins.Loader
	plugins  folder
	retiring sync.WaitGroup // revisions that were replaced, and apps that are undeployed
	watch    chan bool      // whether to, from now on; for Run
	managers sync.WaitGroup // what the apps' sessions do on their own

	changing sync.Mutex // held while the list of apps changes; guards what follows
	resident map[string]map[string]bool
	stopped  map[string]bool  // apps that an operator has stopped, here or not
	channel  *channel.Channel // nil before Join
	domain   string
	running  context.Context //nolint:containedctx // of Run; nil before
	settled  bool
}

// listing is the apps as they are now. Safe for concurrent use.
type listing struct{ now atomic.Pointer[state] }

// state is what the table holds at one time. It is replaced as a whole and never changed.
type state struct {
	up   []*Place // served, sorted by name
	down []Down   // not served, sorted by name and origin
	mux  *http.ServeMux
}

// Down is an app that this node was given and does not serve.
type Down struct {
	Name   string // as far as it is known: of the app, else of the plugin's file
	Path   string // answers 503; empty: there is none, or an app that is served has it
	Origin string // file of the plugin, or "compiled in"
	Err    error  // the reason, for operators

	public string // the reason, for users
}

// New makes an empty table. It is to be stopped, so that the apps hear of it.
func New(c Config, log *slog.Logger) *Table {
	t := &Table{
		cfg: c, log: log, loader: plugins.NewLoader(), resident: map[string]map[string]bool{}, stopped: map[string]bool{},
		watch: make(chan bool, 1),
	}
	t.plugins = folder{table: t, dir: c.Dir, files: map[string]*file{}}
	t.life, t.stop = context.WithCancel(context.Background())
	t.store(nil, nil)
	return t
}

// store puts apps in order, takes from those that are not served the paths of those that are,
// and makes all that the state from now on.
func (t *Table) store(up []*Place, down []Down) {
	s := &state{up: up, down: down, mux: http.NewServeMux()}
	slices.SortFunc(s.up, func(a, b *Place) int { return cmp.Compare(a.name, b.name) })
	slices.SortFunc(s.down, func(a, b Down) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Origin, b.Origin))
	})
	taken := map[string]bool{}
	for _, p := range s.up {
		taken[p.path] = true
		p.halted.Store(t.stopped[p.name])
	}
	for path, h := range byPath(s.up) {
		s.mux.Handle(path, h)
	}
	for i := range s.down {
		d := &s.down[i]
		if taken[d.Path] {
			d.Path = ""
		}
		taken[d.Path] = true
		if d.Path != "" {
			s.mux.Handle(d.Path, *d)
		}
	}
	if !taken["/"] {
		s.mux.HandleFunc("/", t.elsewhere)
	}
	t.now.Store(s)
}

// ServeHTTP leads a request to the app whose path is the longest that fits.
func (l *listing) ServeHTTP(w http.ResponseWriter, r *http.Request) { l.now.Load().mux.ServeHTTP(w, r) }

// ServeHTTP answers in the app's place; a balancer may ask another node.
func (d Down) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	session.Decline(w, fmt.Sprintf("the app %s is not served by this node: %s", d.Name, d.public))
}

// Each goes through the apps that are served now, by name.
func (l *listing) Each() iter.Seq[*Place] { return slices.Values(l.now.Load().up) }

// Find is the app of this name that is served now; nil: there is none.
func (l *listing) Find(name string) *Place {
	up := l.now.Load().up
	if i := slices.IndexFunc(up, func(p *Place) bool { return p.name == name }); i >= 0 {
		return up[i]
	}
	return nil
}

// Down are the apps that are not served, by name. To be read only.
func (l *listing) Down() []Down { return l.now.Load().down }

// States are the names of all apps, and whether each is served to users.
func (l *listing) States() map[string]bool {
	now, states := l.now.Load(), map[string]bool{}
	for _, d := range now.down {
		states[d.Name] = false
	}
	for _, p := range now.up {
		states[p.name] = p.State() == Serving
	}
	return states
}

// Names are those of the apps that are served to users: what the node says that it hosts.
func (l *listing) Names() []string {
	var names []string
	for p := range l.Each() {
		if p.State() == Serving {
			names = append(names, p.name)
		}
	}
	return names
}

// Join gives each app's sessions their topic on the channel, with the members of the domain
// that host the app. To be called before the channel runs, and once.
func (t *Table) Join(ch *channel.Channel, domain string) {
	t.changing.Lock()
	defer t.changing.Unlock()
	t.channel, t.domain = ch, domain
	for p := range t.Each() {
		p.join(ch, domain)
	}
}

// Run does what the apps' sessions do on their own, until ctx ends. To be called once.
func (t *Table) Run(ctx context.Context) {
	t.run(ctx)
	t.managers.Go(func() { t.retireVersions(ctx) })
	for on, going := t.cfg.Watch, true; going; {
		watching, cancel := context.WithCancel(ctx)
		stop := context.AfterFunc(t.life, cancel) //nolint:contextcheck // the apps' life ends first
		var watcher sync.WaitGroup
		if on && t.cfg.Dir != "" {
			watcher.Go(func() { t.plugins.watch(watching) })
		}
		select {
		case on = <-t.watch:
		case <-ctx.Done():
			going = false
		}
		cancel()
		stop()
		watcher.Wait()
	}
	t.managers.Wait()
}

// SetWatch has the folder of plugins watched from now on, or no longer. Not to be called by two
// goroutines at once.
func (t *Table) SetWatch(on bool) {
	select {
	case <-t.watch: // an earlier one that was not seen yet
	default:
	}
	t.watch <- on
}

// SetLimits has all apps keep to the limits that Config.Settings gives them now.
func (t *Table) SetLimits() {
	t.changing.Lock()
	defer t.changing.Unlock()
	for p := range t.Each() {
		p.sessions.SetLimits(t.cfg.Settings(p.name).Session)
	}
}

func (t *Table) run(ctx context.Context) {
	t.changing.Lock()
	defer t.changing.Unlock()
	t.running = ctx
	for p := range t.Each() {
		p.run(ctx, &t.managers)
	}
}

// Settle tells the apps' sessions that discovery has had its first chance.
func (t *Table) Settle() {
	t.changing.Lock()
	defer t.changing.Unlock()
	t.settled = true
	for p := range t.Each() {
		p.Manager().Settle()
	}
}

// Ready tells whether all apps that are served have their sessions. One that was deployed while
// the node runs counts once it had them for the first time.
func (t *Table) Ready() bool {
	return t.all(func(p *Place) bool {
		s := p.State()
		return s != Serving && s != Stopped || p.Manager().Ready()
	})
}

// HandOver makes the other members the ones that expire this node's sessions.
func (t *Table) HandOver() {
	for p := range t.Each() {
		p.Manager().HandOver()
	}
}

// Flushed tells whether the other members have all that this node has.
func (t *Table) Flushed() bool {
	return t.all(func(p *Place) bool { return p.Manager().Flushed() })
}

// Flush waits until that is so. A member whose link is down is waited for until it is gone. False: it
// was not so before ctx ended.
func (t *Table) Flush(ctx context.Context) bool { return await(ctx, t.Flushed) }

func (l *listing) all(is func(*Place) bool) bool {
	for p := range l.Each() {
		if !is(p) {
			return false
		}
	}
	return true
}

// Stop tells all apps that the node stops: their Context.Done closes. Requests are still
// served.
func (t *Table) Stop() { t.stop() }
