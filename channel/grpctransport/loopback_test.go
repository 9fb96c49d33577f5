package grpctransport_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/channel/grpctransport"
	"github.com/nodeserver/nodeserver/membership"
)

// box is a handler that sends what it is given and keeps what it gets.
type box struct {
	mu    sync.Mutex
	up    map[membership.ID]bool
	queue map[membership.ID][]string
	got   []string
}

func newBox() *box {
	return &box{up: map[membership.ID]bool{}, queue: map[membership.ID][]string{}}
}

func (b *box) Connected(m membership.Member) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.up[m.ID] = true
}

func (b *box) Disconnected(id membership.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.up, id)
}

func (b *box) Gone(membership.ID) {}

func (b *box) Pull(to membership.ID, class channel.Class) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queue[to]
	if class != channel.Live || len(q) == 0 {
		return nil
	}
	b.queue[to] = q[1:]
	return []byte(q[0])
}

func (b *box) Receive(from membership.ID, _ channel.Class, p []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got = append(b.got, from.Name+":"+string(p))
}

func (b *box) links() []membership.ID {
	b.mu.Lock()
	defer b.mu.Unlock()
	var ids []membership.ID
	for id := range b.up {
		ids = append(ids, id)
	}
	return ids
}

// at is a provider of fixed addresses.
type at []string

func (at) Name() string { return "static" }

func (at) Stats() membership.Stats { return membership.Stats{Queries: 1} }

func (a at) Run(ctx context.Context, found func(membership.Candidate)) error {
	for _, addr := range a {
		found(membership.Candidate{Address: addr})
	}
	<-ctx.Done()
	return nil
}

type node struct {
	*channel.Channel
	box   *box
	topic *channel.Topic
	addr  string
	log   *lines
	err   chan error
}

// lines keeps a log.
type lines struct {
	mu sync.Mutex
	b  []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}

// start runs a node on a loopback port of its own.
func start(t *testing.T, name string, sec grpctransport.Security, known ...string) *node {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{box: newBox(), addr: lis.Addr().String(), log: &lines{}, err: make(chan error, 1)}
	self := membership.Member{ID: membership.ID{Name: name, Incarnation: uint64(time.Now().UnixNano())}, ChannelAddress: n.addr}
	log := slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	n.Channel = channel.New(
		channel.Config{Self: self, Cluster: "c"}, grpctransport.New(sec, lis, nil),
		[]membership.Provider{at(known)}, log,
	)
	n.topic = n.Topic("t", self.Incarnation, n.box, nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { n.err <- n.Run(ctx); close(n.err) }()
	t.Cleanup(func() {
		cancel()
		for err := range n.err {
			if err != nil {
				t.Errorf("run %s: %v", name, err)
			}
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, n.log)
		}
	})
	return n
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not within 5s: %s", what)
		}
		select {
		case <-t.Context().Done():
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func TestThreeNodesOverLoopback(t *testing.T) {
	t.Parallel()
	seed := grpctransport.Seed([]byte("0123456789abcdef0123456789abcdef"))
	sec := func(name string) grpctransport.Security {
		s, err := grpctransport.SecretCredentials([]grpctransport.Seed{seed}, name)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	begin := time.Now()
	a := start(t, "a", sec("a"))
	b := start(t, "b", sec("b"), a.addr)
	c := start(t, "c", sec("c"), a.addr)
	for _, n := range []*node{a, b, c} {
		waitFor(t, "two links each", func() bool { return len(n.box.links()) == 2 })
	}
	t.Logf("all linked after %v", time.Since(begin))
	var want []string
	for i := range 1000 {
		want = append(want, fmt.Sprintf("a:%d", i))
	}
	a.box.mu.Lock()
	for id := range a.box.up {
		for i := range 1000 {
			a.box.queue[id] = append(a.box.queue[id], fmt.Sprint(i))
		}
	}
	a.box.mu.Unlock()
	for _, id := range a.box.links() {
		a.topic.Wake(id, channel.Live, false)
	}
	for _, n := range []*node{b, c} {
		waitFor(t, "1000 payloads", func() bool {
			n.box.mu.Lock()
			defer n.box.mu.Unlock()
			return len(n.box.got) == 1000
		})
		if !slices.Equal(n.box.got, want) {
			t.Errorf("out of order: %v", n.box.got[:10])
		}
	}
	<-a.Settled()
}
