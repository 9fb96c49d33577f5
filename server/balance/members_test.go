package balance_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/balance"
)

// cluster answers watches as members do.
type cluster struct {
	mu     sync.Mutex
	lists  map[string][]membership.Status // by address; none: refused
	frozen map[string]bool
	news   chan struct{} // closed at each change
	log    *slog.Logger  // of Members; nil: none
}

func (c *cluster) set(addr string, members ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []membership.Status
	for _, m := range members {
		s := membership.Status{State: membership.Alive, Ready: true}
		m, state, _ := strings.Cut(m, " ")
		switch state {
		case "suspect":
			s.State = membership.Suspect
		case "gone":
			s.State, s.Ready = membership.Gone, false
		}
		s.Name, s.Incarnation, s.ChannelAddress, s.HTTPAddress = m, 1, m+":4001", m+":8081"
		list = append(list, s)
	}
	if c.lists == nil {
		c.lists = map[string][]membership.Status{}
	}
	c.lists[addr] = list
	delete(c.frozen, addr)
	c.tell()
}

// freeze lets watches at the address hang, new ones, too.
func (c *cluster) freeze(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.frozen == nil {
		c.frozen = map[string]bool{}
	}
	c.frozen[addr] = true
	c.tell()
}

func (c *cluster) tell() {
	if c.news != nil {
		close(c.news)
	}
	c.news = make(chan struct{})
}

func (c *cluster) watch(ctx context.Context, addr string, told func([]membership.Status)) error {
	for {
		c.mu.Lock()
		list, frozen, news := c.lists[addr], c.frozen[addr] || strings.HasPrefix(addr, "void") && c.frozen["void"], c.news
		c.mu.Unlock()
		switch {
		case frozen:
		case list == nil:
			return errors.New("refused")
		default:
			told(list)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-news:
		}
	}
}

// proposes is a provider.
type proposes []string

func (proposes) Name() string { return "static" }

func (proposes) Stats() membership.Stats { return membership.Stats{Queries: 1} }

func (p proposes) Run(ctx context.Context, found func(membership.Candidate)) error {
	if p == nil {
		return errors.New("no multicast route")
	}
	again := time.NewTicker(5 * time.Second)
	defer again.Stop()
	for {
		for _, a := range p {
			found(membership.Candidate{Address: a})
			found(membership.Candidate{Address: a})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		}
	}
}

// latestList is the last list a Source under test has told.
type latestList struct {
	mu   sync.Mutex
	text string
}

func (l *latestList) update(list []balance.Node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var names []string
	for _, n := range list {
		names = append(names, fmt.Sprintf("%s=%d", n.Name, n.Use))
	}
	l.text = strings.Join(names, " ")
}

// follow runs Members in a bubble, for the time of the test, and returns what
// it tells.
func follow(t *testing.T, c *cluster, providers ...membership.Provider) (expect func(string)) {
	t.Helper()
	log := c.log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	m := balance.NewMembers(providers, c.watch, log)
	ctx, stop := context.WithCancel(context.Background())
	var last latestList
	done := make(chan error)
	go func() { done <- m.Run(ctx, last.update) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return func(want string) {
		t.Helper()
		synctest.Wait()
		last.mu.Lock()
		defer last.mu.Unlock()
		if last.text != want {
			t.Errorf("nodes %q, want %q", last.text, want)
		}
	}
}

func TestMembersFollowsTheCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cluster
		expect := follow(t, &c, proposes{"a:4001", "z:4001"}, proposes(nil))
		expect("")
		c.set("a:4001", "a")
		after(2)
		expect("a=3")
		c.set("a:4001", "a", "b") // b's own list isn't to be had yet
		expect("a=3 b=3")
		c.set("b:4001", "a", "b", "c") // found through a
		after(2)
		expect("a=3 b=3 c=3")
		after(90) // c's own list was never to be had
		expect("a=3 b=3 c=3")
		c.set("a:4001") // a dies
		c.set("b:4001", "b", "c")
		after(1)
		expect("b=3 c=3")
		c.set("b:4001") // and b: now there's nobody to ask
		after(90)
		expect("b=3 c=3")
		c.set("b:4001", "b") // nobody speaks of b any more
		c.set("a:4001", "a") // but a is still proposed
		after(90)
		expect("a=3")
	})
}

// When others suspect a member it is asked anew. One that is only cut off from
// them answers and goes on serving; a frozen one doesn't.
func TestMembersInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cluster
		expect := follow(t, &c, proposes{"a:4001", "b:4001"})
		c.set("a:4001", "a", "b")
		c.set("b:4001", "a", "b")
		after(2)
		expect("a=3 b=3")
		c.set("a:4001", "a", "b suspect")
		expect("a=3 b=2") // it has answered
		after(2)
		expect("a=3 b=2")
		c.set("a:4001", "a", "b")
		expect("a=3 b=3")

		after(1)
		c.freeze("b:4001")
		c.set("a:4001", "a", "b suspect")
		expect("a=3 b=2") // for a moment
		after(2)
		expect("a=3 b=1")
		c.set("a:4001", "a", "b gone")
		expect("a=3")
		c.set("b:4001", "a", "b")
		after(3)
		expect("a=3 b=1") // its own word, against a's
		c.set("a:4001", "a", "b")
		expect("a=3 b=3")
	})
}

// flood is mDNS where somebody makes up members, 50 a second, at addresses that
// answer nobody; the real one is told of once a second.
type flood struct{ real string }

func (flood) Name() string { return "mdns" }

func (flood) Stats() membership.Stats { return membership.Stats{Queries: 1} }

func (f flood) Run(ctx context.Context, found func(membership.Candidate)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n := 1; ; n++ {
		found(membership.Candidate{Address: fmt.Sprintf("void:%d", n), Unproven: true})
		if n%50 == 25 && n > 500 && f.real != "" {
			found(membership.Candidate{Address: f.real, Unproven: true})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// late begins when the flood has been there for some time.
type late struct{ proposes }

func (l late) Run(ctx context.Context, found func(membership.Candidate)) error {
	after(10)
	return l.proposes.Run(ctx, found)
}

// Made-up members keep no real one from the balancer, nor fill its log.
func TestMembersInAFlood(t *testing.T) {
	for name, tc := range map[string]struct {
		providers []membership.Provider
		seconds   int
	}{
		"a list":    {[]membership.Provider{flood{}, late{proposes{"a:4001"}}}, 1},
		"mdns only": {[]membership.Provider{flood{"a:4001"}}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var c cluster
				c.freeze("void")
				log := &lines{}
				c.log = slog.New(slog.NewTextHandler(log, nil))
				after(0)
				expect := follow(t, &c, tc.providers...)
				after(20) // the flood was there before
				c.set("a:4001", "a", "b")
				c.set("b:4001", "a", "b")
				after(tc.seconds + 2) // the last retry may be 2 s away
				expect("a=3 b=3")
				after(120)
				expect("a=3 b=3")
				if n := log.count("level=WARN"); n > 6 {
					t.Errorf("%d warnings in two minutes", n)
				}
			})
		})
	}
}

func TestMembersWithoutProviders(t *testing.T) {
	m := balance.NewMembers([]membership.Provider{proposes(nil)}, nil, slog.New(slog.DiscardHandler))
	if err := m.Run(t.Context(), func([]balance.Node) {}); err == nil || err.Error() != "membership provider static: no multicast route" {
		t.Errorf("%v", err)
	}
}

// after lets seconds of the bubble pass.
func after(seconds int) {
	<-time.After(time.Duration(seconds) * time.Second)
}
