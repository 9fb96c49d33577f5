package balance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// No node ever has more requests than it may, those that wait are served in their order, and
// nobody waits while a node could serve them.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(func(*node) {}, Config{Dialer: new(net.Dialer), NodeRequests: 4})
		p.update(nodesOf(2))
		began := time.Now()
		var mu sync.Mutex
		var order []int
		var users sync.WaitGroup
		for i := range 24 {
			users.Go(func() {
				<-time.After(time.Duration(i) * time.Millisecond)
				n, err := p.take("/shop/", nil, nil)
				if errors.Is(err, errFull) {
					n, err = p.wait(t.Context(), "/shop/", nil, time.Minute)
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				p.mu.Lock()
				if n.inflight > 4 {
					t.Errorf("%s has %d requests", n.Name, n.inflight)
				}
				p.mu.Unlock()
				<-time.After(time.Second)
				p.release(n)
			})
		}
		users.Wait()
		if took := time.Since(began); took < 3*time.Second || took > 3100*time.Millisecond {
			t.Errorf("24 requests of 1 s, 8 at a time, took %v", took)
		}
		for i, n := range order {
			if i != n {
				t.Fatalf("served in the order %v", order)
			}
		}
	})
}

func TestQueueEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(func(*node) {}, Config{Dialer: new(net.Dialer), NodeRequests: 1})
		list := append(nodesOf(1), Node{Name: "spare", Use: Spare}, Node{Name: "far", Use: Full, Domain: "elsewhere"})
		p.update(list)
		held, err := p.take("/shop/", nil, nil)
		if err != nil || held.Name != "n1" {
			t.Fatalf("%v %v", held, err)
		}
		// Neither a node that drains nor another domain's gets what is too much for the others.
		if n, err := p.take("/shop/", []string{"spare"}, nil); n != nil || !errors.Is(err, errFull) {
			t.Errorf("%v %v", n, err)
		}
		if _, err := p.wait(t.Context(), "/shop/", nil, 0); !errors.Is(err, errFull) {
			t.Errorf("without a queue: %v", err)
		}
		began := time.Now()
		if _, err := p.wait(t.Context(), "/shop/", nil, time.Second); !errors.Is(err, errFull) || time.Since(began) != time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := p.wait(ctx, "/shop/", nil, time.Minute); !errors.Is(err, context.Canceled) || p.queued() != 0 {
			t.Errorf("the user has gone: %v, %d wait", err, p.queued())
		}
		got := make(chan string)
		wait := func(path string, tried ...*node) {
			n, err := p.wait(t.Context(), path, tried, time.Minute)
			if err != nil {
				got <- err.Error()
				return
			}
			got <- fmt.Sprint(path, n.Name)
		}
		// Who waits for another app, or has tried the node, keeps nobody from it.
		go wait("/cart/")
		synctest.Wait()
		go wait("/shop/", held)
		synctest.Wait()
		go wait("/shop/")
		synctest.Wait()
		p.release(held)
		if s := <-got; s != "/shop/n1" {
			t.Error(s)
		}
		// A node that comes serves those who wait.
		p.update(append(list, Node{Name: "n2", Incarnation: 1, Use: Full, Apps: []App{{"cart", "/cart/"}}}))
		if s := <-got; s != "/cart/n2" {
			t.Error(s)
		}
		p.update(append(list, nodesOf(3)[1:]...))
		if s := <-got; s != "/shop/n3" && s != "/shop/n2" {
			t.Error(s)
		}
		// So does one that is up again.
		p.update(nodesOf(1))
		n := p.nodes[0]
		p.set(n, true)
		go wait("/shop/")
		synctest.Wait()
		if n.inflight != 1 {
			t.Fatalf("%d requests in flight", n.inflight)
		}
		p.release(n)
		synctest.Wait()
		p.set(n, false)
		if s := <-got; s != "/shop/n1" {
			t.Error(s)
		}
		for range maxQueued {
			go func() { _, _ = p.wait(t.Context(), "/shop/", nil, time.Second) }()
		}
		synctest.Wait()
		if _, err := p.wait(t.Context(), "/shop/", nil, time.Second); !errors.Is(err, errFull) || p.queued() != maxQueued {
			t.Errorf("with %d in the queue: %v", p.queued(), err)
		}
		<-time.After(2 * time.Second)
		if p.queued() != 0 {
			t.Errorf("%d wait still", p.queued())
		}
	})
}
