package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/nodeserver/nodeserver/cmd/nodeserver/internal/child"
	"github.com/nodeserver/nodeserver/server/admin"
)

// Options of a demo.
type Options struct {
	Exe   string        // the nodeserver binary; its plugins are in webapps/ beside it
	Nodes int           // 2 to 9
	Drive time.Duration // how long visitors come, 3 s to 1 h
	Out   io.Writer     // for the time line; nil: nowhere
	// Console: visitors come until the context ends, and nodes are killed by whoever looks at the
	// console. Nothing is checked then.
	Console bool
}

// Check tells what is wrong with the options, or nil.
func (o Options) Check() error {
	if o.Nodes < 2 || o.Nodes > 9 {
		return fmt.Errorf("a demo needs 2 to 9 nodes, not %d", o.Nodes)
	}
	if o.Drive < 3*time.Second || o.Drive > time.Hour {
		return fmt.Errorf("a demo takes 3 to 3600 seconds, not %g", o.Drive.Seconds())
	}
	return nil
}

// How many come, and how fast.
const (
	visitorCount = 24
	thinkTime    = 20 * time.Millisecond
)

// Limits of what the demo waits for; beyond them it has failed.
const (
	startLimit = 20 * time.Second
	goneLimit  = 5 * time.Second // down_after and some
	wholeLimit = 10 * time.Second
	quietLimit = 5 * time.Second
)

// Run plays the demo to its end, or until ctx ends. Whatever happens, its
// children have ended when it returns. Result.Problem says what went wrong, if
// something did.
func Run(ctx context.Context, o Options) Result {
	if o.Out == nil {
		o.Out = io.Discard
	}
	start := time.Now()
	s := &show{line: &timeline{out: o.Out}, ledger: &ledger{}, drive: o.Drive}
	err := s.play(ctx, o)
	if ctx.Err() != nil && !o.Console {
		err = fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	r, _ := s.ledger.snapshot()
	s.facts.copyTo(&r)
	if err != nil {
		s.line.say("demo", "%v", err)
		if r.Problem == "" {
			r.Problem = err.Error()
		}
	}
	r.Schema, r.Events, r.Seconds = "nodeserver.demo/1", s.line.events, time.Since(start).Seconds()
	r.Pass = r.Problem == ""
	if s.cluster != nil {
		r.Logs = s.cluster.dir
		if r.Pass {
			r.Logs = ""
			_ = os.RemoveAll(s.cluster.dir) // a folder left in /tmp is no failure
		}
	}
	return r
}

// show is one demo under way. Run's goroutine owns it.
type show struct {
	cluster  *cluster
	ledger   *ledger
	line     *timeline
	visitors []*visitor
	drive    time.Duration
	facts    facts
}

// facts are what the show itself measures, as in Result.
type facts struct {
	discovery, killed                                 string
	home                                              int
	first, failover, goneAfter, readyAfter, wholeness time.Duration
}

func (f facts) copyTo(r *Result) {
	r.Discovery, r.Killed, r.KilledHomeOf = f.discovery, f.killed, f.home
	r.FirstAnswer, r.Failover = ms(f.first), ms(f.failover)
	r.GoneAfter, r.ReadyAfter, r.WholeAfter = ms(f.goneAfter), ms(f.readyAfter), ms(f.wholeness)
}

func (s *show) play(ctx context.Context, o Options) error {
	c, noMulticast, err := newCluster(o.Exe, o.Nodes)
	s.cluster = c
	if err != nil {
		return err
	}
	s.facts.discovery = c.discovery
	defer c.stopAll()
	if err := s.open(ctx, noMulticast); err != nil {
		return err
	}
	s.visitors = newVisitors(visitorCount, thinkTime, s.ledger)
	driving, closeDoor := context.WithCancel(ctx)
	done := make(chan struct{})
	began := time.Now()
	go func() {
		defer close(done)
		drive(driving, s.visitors, c.doorAddr)
	}()
	if o.Console {
		err = s.hold(ctx)
	} else {
		err = s.acts(ctx, began)
	}
	closeDoor()
	<-done
	if err != nil || o.Console {
		return err
	}
	return s.finalCheck(ctx)
}

// open starts everything.
func (s *show) open(ctx context.Context, noMulticast error) error {
	c := s.cluster
	s.line.say("demo", "%d nodes and a balancer start as processes; conf and logs in %s", len(c.nodes), c.dir)
	if noMulticast != nil {
		s.line.say("demo", "members are listed (static): %v", noMulticast)
	} else {
		s.line.say("demo", "members find each other by mDNS on lo, and prove themselves by mutual TLS")
	}
	start := time.Now()
	if err := c.startAll(); err != nil {
		return err
	}
	if err := c.awaitReady(ctx, startLimit); err != nil {
		return err
	}
	for _, n := range c.nodes {
		s.line.say(n.name, "ready, sees %d members; http %s", len(c.members(n)), n.http)
	}
	s.line.say("balancer", "http://%s%s is open, %s after the start", c.doorAddr, path, inMS(ms(time.Since(start))))
	s.line.say(
		"visitors",
		"%d come and fill their carts, log in and out, each about %d times a second; acks = \"one\": "+
			"an answer means that another node has the write, too",
		visitorCount, time.Second/thinkTime,
	)
	return nil
}

// acts are what happens while visitors come.
func (s *show) acts(ctx context.Context, began time.Time) error {
	if !sleep(ctx, s.drive/3) {
		return ctx.Err()
	}
	victim, err := s.kill(ctx)
	if err != nil {
		return err
	}
	if !sleep(ctx, time.Until(began.Add(2*s.drive/3))) {
		return ctx.Err()
	}
	if err := s.revive(ctx, victim); err != nil {
		return err
	}
	sleep(ctx, time.Until(began.Add(s.drive)))
	return ctx.Err()
}

// kill ends the node that serves most visitors, and sees what becomes of them.
func (s *show) kill(ctx context.Context) (*member, error) {
	victim := s.busiest()
	if victim == nil {
		return nil, errors.New("no visitor has got an answer")
	}
	r, _ := s.ledger.snapshot()
	s.line.say("visitors", "%d requests so far, %d errors; homes: %s", r.Requests, r.Errors, s.homes())
	s.facts.killed, s.facts.home = victim.name, homes(s.visitors)[victim.name]
	mustMove(s.visitors, victim.name)
	s.ledger.killing(time.Now(), time.Time{})
	at := victim.process.Kill()
	s.ledger.killing(at, time.Now())
	s.line.inOrder(event(at, victim.name, "SIGKILL (home of %d visitors)", s.facts.home))

	others := s.cluster.others(victim)
	err := s.cluster.await(ctx, goneLimit, "aware that "+victim.name+" is gone", others, func(n *member) bool {
		known := s.cluster.count(n, func(admin.MemberRow) bool { return true }) > 0
		return known && s.cluster.count(n, func(r admin.MemberRow) bool { return r.Name == victim.name && r.State != "gone" }) == 0
	})
	gone := time.Now()
	if err != nil {
		return nil, err
	}
	s.facts.goneAfter = gone.Sub(at)
	err = s.cluster.waitFor(
		ctx,
		goneLimit,
		"not all visitors of "+victim.name+" have got an answer elsewhere",
		[]*child.Process{s.cluster.door},
		func() bool {
			_, moves := s.ledger.snapshot()
			return len(moves) >= s.facts.home
		},
	)
	if err != nil {
		return nil, err
	}
	s.tellMoves(at, gone, victim)
	return victim, nil
}

// tellMoves tells how visitors and members fared.
func (s *show) tellMoves(at, gone time.Time, victim *member) {
	_, moves := s.ledger.snapshot()
	first, last := moves[0], moves[0]
	for _, w := range moves {
		if w.answered.Before(first.answered) {
			first = w
		}
		if w.answered.After(last.answered) {
			last = w
		}
		s.facts.failover = max(s.facts.failover, w.answered.Sub(later(w.asked, at)))
	}
	s.facts.first = first.answered.Sub(at)
	s.line.inOrder(
		event(gone, "members", "%s is gone on all others after %s", victim.name, inMS(ms(s.facts.goneAfter))),
		event(first.answered, first.node, "answers the first of its visitors %s after the kill", inMS(ms(s.facts.first))),
		event(
			last.answered, "visitors",
			"all %d have gone on elsewhere; the longest wait for an answer was %s", len(moves),
			inMS(ms(s.facts.failover)),
		),
	)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// revive starts the killed node again and waits until it has everything.
func (s *show) revive(ctx context.Context, n *member) error {
	c := s.cluster
	start := time.Now()
	if err := c.startNode(n); err != nil {
		return err
	}
	s.line.say(n.name, "started again, with nothing in memory")
	if err := c.await(ctx, wholeLimit, "ready", []*member{n}, c.ready); err != nil {
		return err
	}
	s.facts.readyAfter = time.Since(start)
	s.line.say(n.name, "ready after %s", inMS(ms(s.facts.readyAfter)))
	other, has := c.others(n)[0], int64(0)
	err := c.await(ctx, wholeLimit, "in possession of all sessions", []*member{n}, func(n *member) bool {
		want := c.sessions(other) // they come and go
		has = c.sessions(n)
		return has > 0 && has >= want
	})
	if err != nil {
		return err
	}
	s.facts.wholeness = time.Since(start)
	s.line.say(n.name, "has all %d sessions after %s", has, inMS(ms(s.facts.wholeness)))
	return nil
}

// finalCheck asks every node for every visitor's cart, without the balancer.
func (s *show) finalCheck(ctx context.Context) error {
	before, _ := s.ledger.snapshot()
	s.line.say(
		"visitors",
		"have left after %d requests; %d errors, %d cut off by the kill, %d not confirmed by another node",
		before.Requests, before.Errors, before.CutOff, before.Unconfirmed,
	)
	for _, n := range s.cluster.nodes {
		if err := s.cluster.await(ctx, quietLimit, "done replicating", s.cluster.nodes, s.cluster.quiet); err != nil {
			return err
		}
		for _, v := range s.visitors {
			v.visit(n.http, look)
		}
		after, _ := s.ledger.snapshot()
		if wrong := after.wrongs() - before.wrongs(); wrong > 0 {
			s.line.say(n.name, "%d visitors do not find their carts here", wrong)
		} else {
			s.line.say(n.name, "asked directly: all %d visitors find their carts", len(s.visitors))
		}
		before = after
	}
	return nil
}

func (r Result) wrongs() int { return r.Errors + r.LostWrites + r.LostSessions }

// busiest is the node that serves most visitors.
func (s *show) busiest() (best *member) {
	h := homes(s.visitors)
	for _, n := range s.cluster.nodes {
		if h[n.name] > 0 && (best == nil || h[n.name] > h[best.name]) {
			best = n
		}
	}
	return best
}

func (s *show) homes() (text string) {
	h := homes(s.visitors)
	for _, n := range s.cluster.nodes {
		text += fmt.Sprintf("%s %d, ", n.name, h[n.name])
	}
	return text[:len(text)-2]
}
