package deploy

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/plugins"
	"github.com/nodeserver/nodeserver/server/session"
)

const (
	// noticeTime is for those who send requests to hear that an app is no longer here; they are
	// served meanwhile.
	noticeTime = time.Second
	// flushTime is for the other members to get the last changes of an app's sessions, at most.
	flushTime = 5 * time.Second
	// stepTime is how often it is looked whether something has come to pass.
	stepTime = 5 * time.Millisecond
)

// prepared is a revision that has started and serves nobody yet.
type prepared struct {
	place *Place // of the app; not in the table yet if it is fresh
	fresh bool
	v     *Revision
}

// Add deploys an app that is new here while the node runs. Users are served once it has the
// sessions of the members that host it; until then their requests are sent on to those.
func (t *Table) Add(o plugins.Plugin) error {
	r, err := t.ready(o)
	if err != nil {
		return err
	}
	return t.take(r)
}

// ready starts a revision of an app, which is new here or not.
func (t *Table) ready(o plugins.Plugin) (*prepared, error) {
	p := t.Find(o.App.Name)
	fresh := p == nil
	if fresh {
		settings := t.cfg.Settings(o.App.Name)
		if err := t.taken(settings.Session.App, settings.Session.Path, o.File); err != nil {
			return nil, err
		}
		p = t.newPlace(settings)
	}
	if p.State() == Leaving {
		return nil, errLeaving
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	v, err := t.prepare(p, o)
	if err != nil {
		return nil, err
	}
	return &prepared{p, fresh, v}, nil
}

// take makes what is ready serve.
func (t *Table) take(r *prepared) error {
	if r.fresh {
		return t.enter(r)
	}
	r.place.mu.Lock()
	defer r.place.mu.Unlock()
	if t.Find(r.place.name) != r.place || r.place.State() == Leaving {
		t.drop(r)
		return fmt.Errorf("app %s was undeployed meanwhile", r.place.name)
	}
	t.swap(r.place, r.v)
	return nil
}

// drop ends a revision that was made ready and is not wanted.
func (t *Table) drop(r *prepared) {
	r.v.end()
	r.v.cleanUp(t.life, t.cfg.Drain, r.place.log)
}

// enter puts a fresh app into the table.
func (t *Table) enter(r *prepared) error {
	p := r.place
	t.changing.Lock()
	defer t.changing.Unlock()
	if err := t.taken(p.name, p.path, r.v.Origin); err != nil {
		t.drop(r)
		return err
	}
	p.state.Store(int32(Joining))
	p.swap(r.v)
	now := t.now.Load()
	down := slices.DeleteFunc(slices.Clone(now.down), func(d Down) bool { return d.Origin == r.v.Origin || d.Name == p.name })
	t.store(append(slices.Clone(now.up), p), down)
	if t.channel != nil {
		p.join(t.channel, t.domain)
	}
	if t.running != nil {
		p.run(t.running, &t.managers)
		t.managers.Go(func() { t.arrive(t.running, p, t.cfg.Settings(p.name).Session.Sessions.JoinTimeout) })
	}
	return nil
}

// taken tells which app stands in the way of a new one.
func (t *Table) taken(name, path, origin string) error {
	for p := range t.Each() {
		switch {
		case p.name == name:
			return fmt.Errorf("%s: app %s is served from %s: remove one", origin, name, p.Origin())
		case p.path == path && !sameApp(p.name, name):
			return fmt.Errorf(
				"%s: the path %s of app %s is app %s's (%s): give one another in its [[app]] path",
				origin, path, name, p.name, p.Origin(),
			)
		}
	}
	return nil
}

// arrive lets users in as soon as the app has its sessions. A member that hosts the app and is out
// of reach may have some that nobody else has: it is waited for until it is back or gone, for as
// long as a node that starts would wait.
func (t *Table) arrive(ctx context.Context, p *Place, patience time.Duration) {
	begun, settled := time.Now(), false
	await(ctx, func() bool {
		if !settled && t.isSettled() && (!lacks(p, t.others()) || time.Since(begun) > patience) {
			p.Manager().Settle()
			settled = true
		}
		return settled && p.Manager().Ready() || p.State() == Leaving
	})
	if !p.state.CompareAndSwap(int32(Joining), int32(Serving)) || ctx.Err() != nil {
		return
	}
	t.announce()
	p.log.Info("app serves", "event", "serves", "sessions", p.Manager().Stats().Sessions, "dur", time.Since(begun).Round(time.Millisecond))
}

// await looks again and again until is says so. False: ctx has ended before.
func await(ctx context.Context, is func() bool) bool {
	step := time.NewTicker(stepTime)
	defer step.Stop()
	for !is() {
		select {
		case <-ctx.Done():
			return false
		case <-step.C:
		}
	}
	return true
}

func (t *Table) isSettled() bool {
	t.changing.Lock()
	defer t.changing.Unlock()
	return t.settled
}

// lacks tells whether one of the members hosts the app that is neither linked nor gone.
func lacks(p *Place, members []membership.Status) bool {
	linked := map[string]bool{}
	for _, l := range p.Manager().Stats().Links {
		linked[l.ID.Name] = true
	}
	for _, m := range members {
		if m.Hosts(p.name) && m.State == membership.Suspect && !linked[m.Name] {
			return true
		}
	}
	return false
}

// others are the other members of the domain that are not gone.
func (t *Table) others() (list []membership.Status) {
	t.changing.Lock()
	ch, domain := t.channel, t.domain
	t.changing.Unlock()
	if ch == nil {
		return nil
	}
	self := ch.Self()
	for _, m := range ch.Members() {
		if m.ID != self && m.Domain == domain && m.State != membership.Gone {
			list = append(list, m)
		}
	}
	return list
}

// elsewhere answers where this node has no app: a balancer may go on to a member that has.
func (t *Table) elsewhere(w http.ResponseWriter, r *http.Request) {
	for _, m := range t.others() {
		for _, app := range m.Apps {
			if m.Ready && strings.HasPrefix(r.URL.Path, m.Path(app)) {
				session.Decline(w, "the app "+app+" is not served by this node")
				return
			}
		}
	}
	http.NotFound(w, r)
}

// announce tells the other members which apps are here.
func (t *Table) announce() {
	t.changing.Lock()
	defer t.changing.Unlock()
	if t.channel != nil {
		t.channel.SetApps(t.Names())
	}
}

// halt has the app, whether or not it is here, answer users no more, or again. Its sessions stay as
// they are, and requests that run go on to their end.
func (t *Table) halt(app string, on bool) {
	t.changing.Lock()
	was := t.stopped[app]
	if on {
		t.stopped[app] = true
	} else {
		delete(t.stopped, app)
	}
	p := t.Find(app)
	if p != nil {
		p.halted.Store(on)
	}
	t.changing.Unlock()
	if p == nil || was == on {
		return
	}
	t.announce()
	if on {
		p.log.Info("app stopped by an operator", "event", "halted", "sessions", p.Manager().Stats().Sessions)
	} else {
		p.log.Info("app started by an operator", "event", "resumed", "sessions", p.Manager().Stats().Sessions)
	}
}

// Undeploy takes the app from this node: the others hear of it, requests in flight end, Done
// closes, the app cleans up, the other members get what they lack of its sessions, and these end
// here. It returns at once; until all that is done the app is Leaving.
func (t *Table) Undeploy(p *Place, why string) {
	if State(p.state.Swap(int32(Leaving))) == Leaving {
		return
	}
	p.log.Info("app is being undeployed", "event", "undeploying", "why", why)
	t.announce()
	t.retiring.Go(func() {
		pause(t.life, noticeTime)
		p.mu.Lock()
		old, idle := p.swap(p.closed())
		p.mu.Unlock()
		old.end()
		begun, e := time.Now(), t.ending()
		e.finish(p, old, idle)
		t.forget(p)
		e.leftovers(p, old, begun)
	})
}

// pause waits, for less if the node stops.
func pause(life context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-life.Done():
	}
}

// closed is a revision that sends requests on to other nodes.
func (p *Place) closed() *Revision {
	now := p.current.Load()
	v := newRevision(context.Background())
	v.end()
	v.Version, v.Origin, v.Source, v.Since = now.Version, now.Origin, now.Source, now.Since
	v.labels, v.listeners = unlabelled, p.sessions.NewListeners()
	v.handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		session.Decline(w, "the app "+p.name+" is no longer served by this node")
	})
	return v
}

// forget ends the app's sessions here.
func (t *Table) forget(p *Place) {
	m := p.Manager()
	m.HandOver()
	limit, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	if !await(limit, m.Flushed) {
		p.log.Warn("there may be changes of sessions that no other member has confirmed", "dur", flushTime)
	}
	alone := len(m.Stats().Links) == 0 // a member where the app is stopped has them, too
	if topic := p.group.topic.Load(); topic != nil {
		topic.Close()
	}
	alone = alone && !slices.ContainsFunc(t.others(), func(m membership.Status) bool { return m.Hosts(p.name) })
	sessions := m.Stats().Sessions
	t.changing.Lock()
	now := t.now.Load()
	t.store(slices.DeleteFunc(slices.Clone(now.up), func(o *Place) bool { return o == p }), slices.Clone(now.down))
	stopped := p.stopped
	t.changing.Unlock()
	if stopped != nil {
		stopped()
	}
	if alone && sessions > 0 {
		p.log.Warn("no other member hosts the app: its sessions have ended", "event", "ended", "sessions", sessions)
	}
	p.log.Info("app undeployed", "event", "undeployed", "sessions", sessions)
}

// setDown notes why nothing is served from an origin; a nil error: nothing comes from there.
func (t *Table) setDown(origin string, d Down) {
	t.changing.Lock()
	defer t.changing.Unlock()
	now := t.now.Load()
	down := slices.DeleteFunc(slices.Clone(now.down), func(d Down) bool { return d.Origin == origin })
	if d.Err != nil {
		down = append(down, d)
	}
	t.store(slices.Clone(now.up), down)
}
