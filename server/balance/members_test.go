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
	mu    sync.Mutex
	lists map[string][]membership.Status // by address; none: refused
	news  chan struct{}                  // closed at each change
}

func (c *cluster) set(addr string, members ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []membership.Status
	for _, m := range members {
		s := membership.Status{State: membership.Alive, Ready: true}
		s.Name, s.Boot, s.ChannelAddress, s.HTTPAddress = m, 1, m+":4001", m+":8081"
		list = append(list, s)
	}
	if c.lists == nil {
		c.lists = map[string][]membership.Status{}
	}
	c.lists[addr] = list
	if c.news != nil {
		close(c.news)
	}
	c.news = make(chan struct{})
}

func (c *cluster) watch(ctx context.Context, addr string, told func([]membership.Status)) error {
	for {
		c.mu.Lock()
		list, news := c.lists[addr], c.news
		c.mu.Unlock()
		if list == nil {
			return errors.New("refused")
		}
		told(list)
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

func TestMembersFollowsTheCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cluster
		var mu sync.Mutex
		var last string
		m := balance.NewMembers([]membership.Provider{proposes{"a:4001", "z:4001"}, proposes(nil)}, c.watch, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- m.Run(ctx, func(list []balance.Node) {
				mu.Lock()
				defer mu.Unlock()
				var names []string
				for _, n := range list {
					names = append(names, fmt.Sprintf("%s=%s", n.Name, n.Address))
				}
				last = strings.Join(names, " ")
			})
		}()
		expect := func(want string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if last != want {
				t.Errorf("nodes %q, want %q", last, want)
			}
		}
		expect("")
		c.set("a:4001", "a")
		after(2)
		expect("a=a:8081")
		c.set("a:4001", "a", "b") // b's own list isn't to be had yet
		expect("a=a:8081 b=b:8081")
		c.set("b:4001", "a", "b", "c") // found through a
		after(2)
		expect("a=a:8081 b=b:8081 c=c:8081")
		after(90) // c's own list was never to be had
		expect("a=a:8081 b=b:8081 c=c:8081")
		c.set("a:4001") // a dies
		c.set("b:4001", "b", "c")
		after(1)
		expect("b=b:8081 c=c:8081")
		c.set("b:4001") // and b: now there's nobody to ask
		after(90)
		expect("b=b:8081 c=c:8081")
		c.set("b:4001", "b") // nobody speaks of b any more
		c.set("a:4001", "a") // but a is still proposed
		after(90)
		expect("a=a:8081")
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
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
