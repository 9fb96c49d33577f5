package balance

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// newUsers sends requests of as many new users to nodes n1, n2 and so on, from 32 clients at once,
// and returns how many each node got. A node takes as long for each as slow says, at least 1 ms.
func newUsers(p *pool, users int, slow map[string]time.Duration) map[string]int {
	var mu sync.Mutex
	got := map[string]int{}
	var clients sync.WaitGroup
	for i := range 32 {
		clients.Go(func() {
			for range users / 32 {
				n, _ := p.take("/shop/", nil, nil)
				<-time.After(time.Millisecond + time.Duration(i)*time.Microsecond + slow[n.Name])
				p.release(n)
				mu.Lock()
				got[n.Name]++
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	return got
}

func poolOf(nodes int, slowStart time.Duration) *pool {
	p := newPool(func(*node) {}, Config{Dialer: new(net.Dialer), SlowStart: slowStart})
	p.update(nodesOf(nodes))
	return p
}

func nodesOf(n int) (list []Node) {
	for i := range n {
		list = append(list, Node{Name: fmt.Sprint("n", i+1), Incarnation: 1, Use: Full, Apps: []App{{"shop", "/shop/"}}})
	}
	return list
}

func TestNewUsersAreSpreadEvenly(t *testing.T) {
	for _, nodes := range []int{3, 5, 8} {
		synctest.Test(t, func(t *testing.T) {
			const users = 10000 / 32 * 32
			got := newUsers(poolOf(nodes, 0), users, nil)
			mean := users / nodes
			for name, n := range got {
				if n < mean-mean/10 || n > mean+mean/10 {
					t.Errorf("of %d nodes %s got %d of %d users, over 10 %% off the mean: %v", nodes, name, n, users, got)
				}
			}
			if len(got) != nodes {
				t.Errorf("of %d nodes, these got users: %v", nodes, got)
			}
		})
	}
}

// A node that a busy app makes slow has more requests in flight, so it gets fewer new users.
func TestASlowNodeGetsFewerNewUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := newUsers(poolOf(3, 0), 3200, map[string]time.Duration{"n2": 20 * time.Millisecond})
		if got["n2"] > got["n1"]/2 || got["n2"] > got["n3"]/2 || got["n2"] == 0 {
			t.Errorf("users by node, of which n2 is slow: %v", got)
		}
	})
}

func TestANewNodeStartsSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := poolOf(3, 10*time.Second)
		if got := newUsers(p, 3200, nil); got["n3"] < 960 {
			t.Errorf("what is there when the balancer starts is not new: %v", got)
		}
		<-time.After(10 * time.Second)
		p.update(nodesOf(4))
		share := func() int { return newUsers(p, 3200, nil)["n4"] }
		first := share()
		<-time.After(5 * time.Second)
		second := share()
		<-time.After(5 * time.Second)
		third := share()
		if first == 0 || first > 300 || second < first+100 || third < 720 {
			t.Errorf("of 3200 users each, the new node of four got %d at first, %d after 5 s, and %d after 10 s", first, second, third)
		}
		// A node whose drain was taken back is as new.
		list := nodesOf(4)
		list[0].Use = Spare
		p.update(list)
		p.update(nodesOf(4))
		if got := newUsers(p, 3200, nil); got["n1"] == 0 || got["n1"] > 300 {
			t.Errorf("users by node, of which n1 has come back: %v", got)
		}
	})
}

// New users must not go to a node that is to be left alone while another one only has to be asked
// whether it lives.
func TestRatherANodeInDoubtThanOneThatDrains(t *testing.T) {
	p := newPool(func(*node) {}, Config{Dialer: new(net.Dialer)})
	list := nodesOf(2)
	list[0].Use = Spare
	p.update(list)
	over := make(chan struct{})
	p.nodes[1].doubt.Store(&over)
	for _, routes := range [][]string{nil, {"n1"}, {"n2"}} {
		if n, _ := p.take("/shop/", routes, nil); n.Name != "n2" {
			t.Errorf("a user of %v gets %s", routes, n.Name)
		}
		if n, _ := p.take("/shop/", routes, []*node{p.nodes[1]}); n.Name != "n1" {
			t.Errorf("a user of %v then gets %s", routes, n.Name)
		}
	}
}

func TestPlace(t *testing.T) {
	p := newPool(func(*node) {}, Config{Dialer: new(net.Dialer)})
	p.update([]Node{
		{Name: "n1", Use: Full, Apps: []App{{"shop", "/shop/"}, {"admin", "/shop/admin/"}}},
		{Name: "n2", Use: Full, Apps: []App{{"shop", "/shop/"}}},
		{Name: "n3", Apps: []App{{"cart", "/cart/"}}}, // is not ready
	})
	for path, want := range map[string]string{
		"/shop/":            "shop true n1 n2",
		"/shop":             "shop true n1 n2",
		"/shop/a/b?x":       "shop true n1 n2",
		"//shop/./x/../y":   "shop true n1 n2",
		"/shop/admin/x":     "admin true n1",
		"/shop/admin":       "admin true n1",
		"/shop/administrat": "shop true n1 n2",
		"/cart/x":           "cart false",
		"/":                 " false",
		"/shopper/":         " false",
		"/../shop/":         "shop true n1 n2",
		"*":                 " false",
		"":                  " false",
	} {
		to := p.place(path)
		got := fmt.Sprint(to.app, " ", to.there)
		for _, n := range p.nodes {
			if n.hosts(to.path) {
				got += " " + n.Name
			}
		}
		if got != want || to.blind {
			t.Errorf("%q leads to %q, want %q", path, got, want)
		}
	}
	// Apps come and go while nodes run, and are not forgotten.
	p.update([]Node{{Name: "n1", Use: Full, Apps: []App{{"root", "/"}}}, {Name: "n2", Use: Full, Apps: []App{{"cart", "/cart/"}}}})
	for path, want := range map[string]place{
		"/shop/": {path: "/shop/", app: "shop"}, "/cart/": {path: "/cart/", app: "cart", there: true},
		"/x": {path: "/", app: "root", there: true},
	} {
		if to := p.place(path); to != want {
			t.Errorf("%q then leads to %+v", path, to)
		}
	}
	p.update(nil)
	if to := p.place("/x"); !to.blind {
		t.Errorf("without any node: %+v", to)
	}
}
