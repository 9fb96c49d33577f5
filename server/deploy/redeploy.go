package deploy

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/nodeserver/nodeserver/server/plugins"
	"github.com/nodeserver/nodeserver/webapps"
)

// healthLimit is how long an app may take to say whether it can serve.
const healthLimit = 10 * time.Second

// Redeploy makes the plugin's code serve the app from now on: it starts, is asked for its
// health, and gets the requests that begin. Those that run end at the revision before, whose
// Done closes; its cleanup is waited for in the background. After an error nothing has changed.
func (t *Table) Redeploy(p *Place, o plugins.Plugin) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	v, err := t.prepare(p, o)
	if err != nil {
		return err
	}
	t.swap(p, v)
	return nil
}

// swap makes the revision serve the app from now on, and ends the one before. Called with p.mu
// held.
func (t *Table) swap(p *Place, v *Revision) {
	old, idle := p.swap(v)
	p.failure.Store(nil)
	old.end()
	t.retiring.Go(func() { t.ending().retire(p, old, idle) })
}

// prepare starts a revision of the plugin's code, which is to serve the app, and asks for its
// health. Called with p.mu held.
func (t *Table) prepare(p *Place, o plugins.Plugin) (*Revision, error) {
	if most := t.cfg.MaxRevisions; most > 0 && !p.resident[o.Revision] && len(p.resident) >= most {
		return nil, fmt.Errorf(
			"%s: %d revisions of app %s are in this process, and Go can't unload any (webapps.max_revisions): "+
				"restart the node; a rolling restart loses nothing",
			o.File, len(p.resident), p.name,
		)
	}
	v, err := p.start(t.life, o.App, o.File, o.Revision)
	if err != nil {
		return nil, err
	}
	if err := v.health(t.life); err != nil {
		v.end()
		v.cleanUp(t.life, t.cfg.Drain, p.log)
		return nil, fmt.Errorf("%s: app %s is not healthy: %w", o.File, p.name, err)
	}
	return v, nil
}

// health asks the revision's handler whether it can serve.
func (v *Revision) health(ctx context.Context) error {
	h, ok := v.handler.(webapps.Healthy)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	_, err := plugins.Guard(healthLimit, "its Health function", func() (struct{}, error) { return struct{}{}, h.Health(ctx) })
	return err
}

// cleanUp has the revision's handler clean up, once.
func (v *Revision) cleanUp(ctx context.Context, limit time.Duration, log *slog.Logger) {
	h, ok := v.handler.(webapps.Closer)
	if !ok {
		return
	}
	v.closed.Do(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		defer cancel()
		if _, err := plugins.Guard(
			limit+time.Second,
			"its Close function",
			func() (struct{}, error) { return struct{}{}, h.Close(ctx) },
		); err != nil {
			log.Warn("app did not clean up", "revision", short(v.Source), "err", err)
		}
	})
}

// ending is how revisions end: for how long each may go on, and until when the node does.
type ending struct {
	life  context.Context //nolint:containedctx // the table's
	drain time.Duration
}

func (t *Table) ending() ending { return ending{t.life, t.cfg.Drain} }

// retire waits for the last requests of a revision that was replaced, has it clean up, and
// names what it leaves behind.
func (e ending) retire(p *Place, v *Revision, idle <-chan struct{}) {
	begun := time.Now()
	e.finish(p, v, idle)
	e.leftovers(p, v, begun)
}

// finish waits for the last requests of a revision, and has it clean up.
func (e ending) finish(p *Place, v *Revision, idle <-chan struct{}) {
	over := time.NewTimer(e.drain)
	defer over.Stop()
	select {
	case <-idle:
	case <-over.C:
		p.log.Warn(
			"requests of a revision that was replaced still run", "revision", short(v.Source),
			"requests", v.InFlight(), "dur", e.drain,
		)
	}
	v.cleanUp(e.life, e.drain, p.log)
}

// leftovers names what a revision leaves behind for longer than it may.
func (e ending) leftovers(p *Place, v *Revision, begun time.Time) {
	select {
	case <-time.After(time.Until(begun.Add(e.drain))):
	case <-e.life.Done(): // the node stops, all of it ends
		return
	}
	if left := v.goroutines(); left > 0 {
		p.log.Warn(
			"a revision that was replaced has left goroutines running: they should end when Context.Done closes",
			"revision", short(v.Source), "goroutines", left,
		)
	}
}

// Finish has all apps clean up, and returns when they have, or when ctx ends. To be called after
// Stop, when no request runs any more.
func (t *Table) Finish(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for p := range t.Each() {
			t.retiring.Go(func() { p.current.Load().cleanUp(ctx, t.cfg.Drain, p.log) })
		}
		t.retiring.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		t.log.Warn("apps still clean up while the node ends", "err", ctx.Err())
	}
}

var unlabelled = context.Background()

// deployed is the label of a revision's goroutines that no other revision of the process has,
// beside those for people. A profile of goroutines shows them.
const deployed = "deployed"

var labelled = regexp.MustCompile(`(?m)^(\d+) @ .*\n# labels: (\{.*\})$`)

// goroutines counts those that the revision has started and that run.
func (v *Revision) goroutines() (n int) {
	var b bytes.Buffer
	if pprof.Lookup("goroutine").WriteTo(&b, 1) != nil {
		return 0
	}
	mark := fmt.Sprintf("%q:%q", deployed, v.number)
	for _, m := range labelled.FindAllStringSubmatch(b.String(), -1) {
		if strings.Contains(m[2], mark) {
			count, _ := strconv.Atoi(m[1]) // digits, by the pattern
			n += count
		}
	}
	return n
}
