package channel_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/channel/channeltest"
	"github.com/nodeserver/nodeserver/channel/grpctransport"
	"github.com/nodeserver/nodeserver/membership"
)

// cluster is a set of nodes, in a bubble, over a network in memory with the real gRPC transport.
type cluster struct {
	t           *testing.T
	net         *channeltest.Network
	incarnation uint64
}

// inBubble runs a test with a cluster in virtual time. That the bubble ends proves that every
// goroutine of every node has ended.
func inBubble(t *testing.T, test func(t *testing.T, cl *cluster)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { test(t, &cluster{t: t, net: channeltest.NewNetwork()}) })
}

// node is a channel with one topic, and a box as its handler.
type node struct {
	*channel.Channel
	*box
	id    membership.ID
	topic *channel.Topic
	host  string
	tr    *counted
	log   *lines
	stop  context.CancelFunc
	err   chan error // what Run returned
}

// start runs a node of a name at host:1; more options change its config.
func (cl *cluster) start(name string, known []string, options ...func(*channel.Config)) *node {
	return cl.startAt(name, name, known, options...)
}

func (cl *cluster) startAt(name, host string, known []string, options ...func(*channel.Config)) *node {
	cl.t.Helper()
	return cl.startWith(name, host, []membership.Provider{static(known)}, options...)
}

func (cl *cluster) startWith(name, host string, providers []membership.Provider, options ...func(*channel.Config)) *node {
	cl.t.Helper()
	cl.incarnation++
	addr := host + ":1"
	n := &node{
		id: membership.ID{Name: name, Incarnation: cl.incarnation}, host: host, log: &lines{}, err: make(chan error, 1),
		box: newBox(),
	}
	cfg := channel.Config{Self: membership.Member{ID: n.id, ChannelAddress: addr, HTTPAddress: host + ":2"}, Cluster: "test"}
	for _, o := range options {
		o(&cfg)
	}
	n.tr = &counted{
		Transport: grpctransport.New(grpctransport.Insecure(), cl.net.Listen(addr), cl.net.Dialer(host)),
		frames:    map[string]*[2]atomic.Int64{},
	}
	log := slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	n.Channel = channel.New(cfg, n.tr, providers, log)
	n.topic = n.Topic("t", n.id.Incarnation, n.box, nil)
	ctx, cancel := context.WithCancel(cl.t.Context())
	n.stop = cancel
	go func() {
		n.err <- n.Run(ctx)
		close(n.err)
	}()
	cl.t.Cleanup(func() {
		cancel()
		for err := range n.err {
			if err != nil {
				cl.t.Errorf("run %s: %v", n.id, err)
			}
		}
		if cl.t.Failed() {
			cl.t.Logf("log of %s:\n%s\nevents: %v", n.id, n.log, n.events())
		}
	})
	return n
}

// crash ends a node as kill -9 does: it announces nothing.
func (cl *cluster) crash(n *node) {
	cl.net.Kill(n.host)
	n.stop()
	for err := range n.err {
		if err != nil {
			cl.t.Errorf("run %s: %v", n.id, err)
		}
	}
}

// three starts three nodes that know of each other through the first, linked.
func (cl *cluster) three() (a, b, c *node) {
	cl.t.Helper()
	a = cl.start("a", nil)
	b = cl.start("b", []string{"a:1"})
	c = cl.start("c", []string{"a:1"})
	cl.within(2*time.Second, "three nodes linked", func() bool {
		return a.sees(b, c) && b.sees(a, c) && c.sees(a, b)
	})
	return a, b, c
}

// within lets virtual time pass until ok, and tells how long it took.
func (cl *cluster) within(limit time.Duration, what string, ok func() bool) time.Duration {
	cl.t.Helper()
	begin := time.Now()
	for {
		synctest.Wait()
		took := time.Since(begin)
		if ok() {
			return took
		}
		if took >= limit {
			cl.t.Fatalf("not within %v: %s", limit, what)
		}
		pass(time.Millisecond)
	}
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// sees tells whether exactly these are alive for the node, and linked to it; all others are gone.
func (n *node) sees(others ...*node) bool {
	want := map[membership.ID]bool{n.id: true}
	for _, o := range others {
		want[o.id] = true
		if !n.linked(o.id) {
			return false
		}
	}
	for _, s := range n.Members() {
		if (s.State == membership.Alive) != want[s.ID] || s.State == membership.Suspect {
			return false
		}
		delete(want, s.ID)
	}
	return len(want) == 0
}

func (n *node) state(id membership.ID) membership.State {
	for _, s := range n.Members() {
		if s.ID == id {
			return s.State
		}
	}
	return 0
}

// send gives payloads for a member to the handler, and wakes the channel.
func (n *node) send(to *node, class channel.Class, urgent bool, payloads ...string) {
	n.put(to.id, class, payloads...)
	n.topic.Wake(to.id, class, urgent)
}

// static is a provider of fixed addresses.
type static []string

func (static) Name() string { return "static" }

func (static) Stats() membership.Stats { return membership.Stats{Queries: 1} }

func (s static) Run(ctx context.Context, found func(membership.Candidate)) error {
	for _, addr := range s {
		found(membership.Candidate{Address: addr})
	}
	<-ctx.Done()
	return nil
}

// box is a handler that keeps a record of all calls and checks their rules.
type box struct {
	mu     sync.Mutex
	up     map[membership.ID]bool
	record []string
	queue  map[membership.ID]*[2][]string
	got    map[membership.ID]*[2][]string
	at     map[string]time.Time // when a payload came
	hold   chan struct{}        // Receive waits until it is closed; nil: it doesn't
}

func newBox() *box {
	return &box{
		up: map[membership.ID]bool{}, queue: map[membership.ID]*[2][]string{},
		got: map[membership.ID]*[2][]string{}, at: map[string]time.Time{},
	}
}

func (b *box) note(what string, id membership.ID, up bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if what != "gone" && b.up[id] == up {
		b.record = append(b.record, "WRONG")
	}
	if what == "gone" && b.up[id] {
		b.record = append(b.record, "WRONG")
	}
	b.up[id] = up
	b.record = append(b.record, fmt.Sprintf("%s %s", what, id))
}

func (b *box) Connected(m membership.Member) { b.note("up", m.ID, true) }
func (b *box) Disconnected(id membership.ID) { b.note("down", id, false) }
func (b *box) Gone(id membership.ID)         { b.note("gone", id, false) }

func (b *box) linked(id membership.ID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.up[id]
}

func (b *box) events() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.record)
}

func (b *box) came(payload string) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at[payload]
}

func (b *box) holdBack(until chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hold = until
}

func (b *box) left(to *node, c channel.Class) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.of(b.queue, to.id)[c])
}

func (b *box) of(m map[membership.ID]*[2][]string, id membership.ID) *[2][]string {
	if m[id] == nil {
		m[id] = &[2][]string{}
	}
	return m[id]
}

func (b *box) put(to membership.ID, c channel.Class, payloads ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.of(b.queue, to)
	q[c] = append(q[c], payloads...)
}

func (b *box) Pull(to membership.ID, c channel.Class) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.up[to] {
		b.record = append(b.record, "WRONG pull")
	}
	q := b.of(b.queue, to)
	if len(q[c]) == 0 {
		return nil
	}
	p := q[c][0]
	q[c] = q[c][1:]
	return []byte(p)
}

func (b *box) Receive(from membership.ID, c channel.Class, p []byte) {
	b.mu.Lock()
	hold := b.hold
	b.mu.Unlock()
	if hold != nil {
		<-hold
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.up[from] {
		b.record = append(b.record, "WRONG receive")
	}
	g := b.of(b.got, from)
	g[c] = append(g[c], string(p))
	b.at[string(p)] = time.Now()
}

func (b *box) received(from *node, c channel.Class) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.of(b.got, from.id)[c])
}

// links is how many links to another node there have been.
func (n *node) links(to *node) (links int) {
	for _, e := range n.events() {
		if e == "up "+to.id.String() {
			links++
		}
	}
	return links
}

// frames is how many frames were sent to another node.
func (n *node) frames(to *node, c channel.Class) int64 {
	n.tr.mu.Lock()
	defer n.tr.mu.Unlock()
	return n.tr.frames[to.host+":1"][c].Load()
}

// counted is a transport that counts the frames it sends to each address.
type counted struct {
	channel.Transport
	mu     sync.Mutex
	frames map[string]*[2]atomic.Int64 // by channel.Class
}

func (c *counted) Dial(addr string) (channel.Conn, error) {
	conn, err := c.Transport.Dial(addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.frames[addr] == nil {
		c.frames[addr] = &[2]atomic.Int64{}
	}
	return countedConn{conn, c.frames[addr]}, err
}

type countedConn struct {
	channel.Conn
	frames *[2]atomic.Int64
}

func (c countedConn) Exchange(ctx context.Context, h channel.Hello) (channel.Outgoing, channel.Welcome, error) {
	out, w, err := c.Conn.Exchange(ctx, h)
	if err != nil {
		return nil, w, err
	}
	return &countedOut{Outgoing: out, frames: c.frames}, w, nil
}

type countedOut struct {
	channel.Outgoing
	frames *[2]atomic.Int64
	class  channel.Class
}

func (o *countedOut) Send(m channel.Message) error {
	switch {
	case m.Start != nil:
		o.class = m.Start.Class
	case m.Frame != nil:
		o.frames[o.class].Add(1)
	}
	return o.Outgoing.Send(m)
}

// sound fails the test if a rule of Handler was broken.
func (n *node) sound(t *testing.T) {
	t.Helper()
	for _, e := range n.events() {
		if strings.HasPrefix(e, "WRONG") {
			t.Errorf("%s: handler called against the rules: %v", n.id, n.events())
			return
		}
	}
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

// count is in how many lines of the log a text is.
func (l *lines) count(text string) int {
	n := 0
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}
