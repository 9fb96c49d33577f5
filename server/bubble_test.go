package server

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeserver/nodeserver/channel/channeltest"
	"github.com/nodeserver/nodeserver/webapps"
)

// bubble is a cluster of whole nodes in virtual time: everything but HTTP's
// connections and TLS is what users get, over a network in memory that delays, stalls and
// breaks. When the bubble ends, every goroutine of every node has ended.
type bubble struct {
	t     *testing.T
	net   *channeltest.Network
	nodes []*bubbleNode // by the port of their URL
}

// bubbleNode is a node; its host in the network has its name.
type bubbleNode struct {
	*node
	host string
	dead atomic.Bool // takes no requests
}

func inBubble(t *testing.T, test func(t *testing.T, b *bubble)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { test(t, &bubble{t: t, net: channeltest.NewNetwork()}) })
}

// start runs a node that knows of these hosts.
func (b *bubble) start(name string, known []string, app webapps.App, change func(*Config)) *bubbleNode {
	b.t.Helper()
	var seeds []string
	for _, host := range known {
		if host != name {
			seeds = append(seeds, host+":1")
		}
	}
	cfg := testConf(name, seeds...)
	cfg.Channel.Insecure = true
	if change != nil {
		change(&cfg)
	}
	log := discard()
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(b.t.Output(), nil))
	}
	n := &bubbleNode{host: name}
	dial := b.net.Dialer(name)
	s, err := New(cfg, []webapps.App{app}, log,
		WithListeners(b.net.Listen(name+":80"), b.net.Listen(name+":81"), b.net.Listen(name+":1")),
		WithDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			if n.dead.Load() {
				return nil, &net.OpError{Op: "dial", Net: "mem", Err: syscall.ECONNREFUSED}
			}
			return dial(ctx, addr)
		}))
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- s.Run(ctx)
		close(done)
	}()
	n.node = &node{t: b.t, server: s, url: "http://site:" + strconv.Itoa(len(b.nodes)+1)}
	n.stop = func() {
		cancel()
		if err := <-done; err != nil && !n.dead.Load() { // killed, it has lost its listeners
			b.t.Errorf("node %s: %v", name, err)
		}
		n.dead.Store(true)
	}
	b.nodes = append(b.nodes, n)
	b.t.Cleanup(n.stop)
	return n
}

// cluster starts n nodes at once, which all know of each other, and waits for them.
func (b *bubble) cluster(n int, app webapps.App, change func(*Config)) []*bubbleNode {
	b.t.Helper()
	var hosts []string
	for i := range n {
		hosts = append(hosts, "n"+strconv.Itoa(i+1))
	}
	var nodes []*bubbleNode
	for _, host := range hosts {
		nodes = append(nodes, b.start(host, hosts, app, change))
	}
	b.whole(10*time.Second, nodes...)
	return nodes
}

// crash ends a node as kill -9 does: nobody is told anything. What is left of
// it in this process ends when it may.
func (b *bubble) crash(n *bubbleNode) {
	n.dead.Store(true)
	b.net.Kill(n.host)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		n.stop()
	}()
	b.t.Cleanup(func() { <-stopped })
}

// apart cuts a node off from others, or plugs it in again.
func (b *bubble) apart(n *bubbleNode, others ...*bubbleNode) {
	for _, o := range others {
		b.net.Cut(n.host, o.host)
	}
}

func (b *bubble) heal(n *bubbleNode, others ...*bubbleNode) {
	for _, o := range others {
		b.net.Heal(n.host, o.host)
	}
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// within lets virtual time pass until ok, and tells how long it took.
func (b *bubble) within(limit time.Duration, what string, ok func() bool) time.Duration {
	b.t.Helper()
	begin := time.Now()
	for !ok() {
		if time.Since(begin) >= limit {
			b.t.Fatalf("not within %v: %s", limit, what)
		}
		pass(5 * time.Millisecond)
	}
	return time.Since(begin)
}

// whole waits until the nodes are ready, each others' members, and hold the
// same sessions.
func (b *bubble) whole(limit time.Duration, nodes ...*bubbleNode) time.Duration {
	b.t.Helper()
	return b.within(limit, "one cluster, all ready, all the same", func() bool {
		for _, n := range nodes {
			if !n.server.ready.Load() || len(strings.Fields(n.server.names())) != len(nodes) || n.digest() != nodes[0].digest() {
				return false
			}
		}
		return true
	})
}

func (n *bubbleNode) digest() uint64 { return n.server.manager().Core.Digest() }
func (n *bubbleNode) sessions() int  { return int(n.server.manager().Stats().Sessions) }

// user is a browser on its way through the cluster.
func (b *bubble) user() *user {
	u := newUser(b.t)
	u.web.Transport, u.web.Timeout = b, 0
	return u
}

// RoundTrip hands the request to the node's handler.
func (b *bubble) RoundTrip(r *http.Request) (*http.Response, error) {
	port, err := strconv.Atoi(r.URL.Port())
	if err != nil {
		return nil, err
	}
	n := b.nodes[port-1]
	if n.dead.Load() {
		return nil, fmt.Errorf("%s: %w", n.host, syscall.ECONNREFUSED)
	}
	in := httptest.NewRequestWithContext(r.Context(), r.Method, r.URL.RequestURI(), r.Body)
	in.Header = r.Header.Clone()
	w := httptest.NewRecorder()
	n.server.httpServer().Handler.ServeHTTP(w, in)
	return w.Result(), nil
}

// At three distances, with a node that comes and goes: all that is written is
// everywhere when the network is whole again, and no node serves before it has all.
func TestBubbleNodeComesAndGoes(t *testing.T) {
	inBubble(t, func(_ *testing.T, b *bubble) {
		b.net.Delay("n1", "n2", 5*time.Millisecond)
		b.net.Delay("n1", "n3", 40*time.Millisecond)
		b.net.Delay("n2", "n3", 120*time.Millisecond)
		nodes := b.cluster(3, testApp(), nil)
		u := b.user()
		u.want(nodes[0].node, "/test/inc", "1")
		b.whole(time.Second, nodes...)

		b.crash(nodes[2])
		b.within(time.Second, "the crash is noticed", func() bool { return len(strings.Fields(nodes[0].server.names())) == 2 })
		u.want(nodes[1].node, "/test/inc", "2")
		again := b.start("n3", []string{"n1"}, testApp(), nil)
		b.within(3*time.Second, "the next life is ready", again.server.ready.Load)
		u.want(again.node, "/test/get", "2 <nil>") // no sooner than it had it

		again.stop()
		b.within(200*time.Millisecond, "good-bye is heard", func() bool { return len(strings.Fields(nodes[0].server.names())) == 2 })
	})
}

// A cable is pulled and plugged in again, for less and for more than it takes
// to give a member up: nobody stops serving, and nothing written is lost. Whoever
// was cut off is one of the members again, as the same life.
func TestBubbleCut(t *testing.T) {
	for _, d := range []time.Duration{500 * time.Millisecond, 1500 * time.Millisecond, 10 * time.Second} {
		t.Run(d.String(), func(t *testing.T) {
			inBubble(t, func(_ *testing.T, b *bubble) {
				nodes := b.cluster(3, values(), nil)
				u := b.user()
				u.want(nodes[0].node, set("a", "0"), "")
				b.whole(time.Second, nodes...)
				b.apart(nodes[2], nodes[:2]...)
				for begin, i := time.Now(), 1; time.Since(begin) < d; i++ {
					u.want(nodes[0].node, set("a", strconv.Itoa(i)), "")
					u.want(nodes[2].node, set("b", strconv.Itoa(i)), "")
					pass(100 * time.Millisecond)
				}
				b.heal(nodes[2], nodes[:2]...)
				b.whole(5*time.Second, nodes...)
				last := int(d / (100 * time.Millisecond))
				everywhere([]*user{u}, nodes, "/test/all", fmt.Sprintf("a=%d b=%d ", last, last))
			})
		})
	}
}

// Bytes get through in one direction only: to those who don't hear it, the
// member is as good as cut off, and nobody waits for it.
func TestBubbleHalfOpen(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		nodes := b.cluster(3, testApp(), acksOf("all"))
		u := b.user()
		u.want(nodes[0].node, "/test/inc", "1")
		b.net.CutOneWay("n3", "n1")
		b.net.CutOneWay("n3", "n2")
		begin := time.Now()
		if h := u.want(nodes[0].node, "/test/inc", "2"); h.Get("Nodeserver-Replicated") != "1/2" ||
			time.Since(begin) != 250*time.Millisecond {
			t.Errorf("after %v it is %q", time.Since(begin), h.Get("Nodeserver-Replicated"))
		}
		gone := b.within(4*time.Second, "n3 is gone", func() bool { return len(strings.Fields(nodes[0].server.names())) == 2 })
		begin = time.Now()
		if h := u.want(nodes[0].node, "/test/inc", "3"); h.Get("Nodeserver-Replicated") != "" || time.Since(begin) > 150*time.Millisecond {
			t.Errorf("%v after n3 was cut off, an answer takes %v, and it says %q", gone, time.Since(begin), h.Get("Nodeserver-Replicated"))
		}
		b.heal(nodes[2], nodes[:2]...)
		b.whole(5*time.Second, nodes...)
	})
}

// Connections break again and again while users write: each link comes back, and
// what was on its way is sent again.
func TestBubbleReset(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		nodes := b.cluster(3, testApp(), nil)
		for i, n := range nodes {
			b.net.Delay(n.host, nodes[(i+1)%3].host, 3*time.Millisecond)
		}
		users := b.users(12)
		broken := 0
		for round := range 20 {
			each(len(users), 4, func(i int) {
				users[i].want(nodes[i%3].node, "/test/inc", strconv.Itoa(round+1))
			})
			if b.net.Reset(nodes[round%3].host, nodes[(round+1)%3].host) > 0 { // or it was not back yet
				broken++
			}
			pass(time.Duration(round*7) * time.Millisecond)
		}
		t.Logf("whole %v after the last break", b.whole(3*time.Second, nodes...))
		everywhere(users, nodes, "/test/get", "20 <nil>")
		if broken < 15 {
			t.Errorf("connections were broken in %d of 20 rounds only", broken)
		}
	})
}

// The only donor is cut off in the middle of a state transfer: the joiner does
// not serve with a part of the sessions, as long as the donor may be alive. When
// it is given up the joiner is alone, and says so by being ready; after that
// the rest comes by itself.
func TestBubbleJoinAcrossACut(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		n1 := b.start("n1", nil, values(), nil)
		b.within(3*time.Second, "ready", n1.server.ready.Load)
		users := b.users(400)
		for _, u := range users {
			u.want(n1.node, "/test/fill", "")
		}
		b.net.Delay("n1", "n2", 50*time.Millisecond)
		n2 := b.start("n2", []string{"n1"}, values(), nil)
		b.within(3*time.Second, "the transfer is under way", func() bool { return n2.sessions() > 0 })
		b.net.Cut("n1", "n2")
		cut := time.Now()
		had := n2.sessions()
		b.within(4*time.Second, "n1 is given up", func() bool {
			alone := len(strings.Fields(n2.server.names())) == 1
			if !alone && n2.server.ready.Load() {
				t.Fatalf("ready with %d of 400 sessions %v after the cut", n2.sessions(), time.Since(cut))
			}
			return alone
		})
		b.within(time.Second, "n2 serves alone", n2.server.ready.Load)
		b.net.Heal("n1", "n2")
		t.Logf(
			"cut off with %d of 400 sessions; alone after %v; whole %v after the cure", had,
			time.Since(cut), b.whole(5*time.Second, n1, n2),
		)
		if n2.sessions() != 400 {
			t.Errorf("n2 has %d sessions", n2.sessions())
		}
	})
}

// Members far apart: a write is with them after one way, its answer after two,
// and time-outs are kept to the millisecond.
func TestBubbleFarApart(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		nodes := b.cluster(2, testApp(), acksOf("all"))
		u := b.user()
		u.want(nodes[0].node, "/test/inc", "1")
		for i, d := range []time.Duration{20 * time.Millisecond, 100 * time.Millisecond, 400 * time.Millisecond} {
			b.net.Delay("n1", "n2", d)
			pass(3 * time.Second)
			begin := time.Now()
			h := u.want(nodes[0].node, "/test/inc", strconv.Itoa(i+2))
			took, says := time.Since(begin), h.Get("Nodeserver-Replicated")
			if want := min(2*d, 250*time.Millisecond); took < want || took > want+10*time.Millisecond ||
				(says == "0/1") != (2*d > 250*time.Millisecond) {
				t.Errorf("%v each way: answered after %v with %q", d, took, says)
			}
			pass(d)
			u.want(nodes[1].node, "/test/get", strconv.Itoa(i+2)+" <nil>")
		}
	})
}
