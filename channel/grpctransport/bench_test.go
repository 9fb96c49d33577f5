package grpctransport_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/channel/grpctransport"
	"github.com/nodeserver/nodeserver/membership"
)

// source is a handler that gives as many payloads as the benchmark asks for.
type source struct {
	payload []byte
	left    sync.Map // by member: *atomic.Int64
	wanted  atomic.Int64
	linked  chan membership.ID
	done    chan struct{} // one for each time that all wanted are there
}

func (s *source) Connected(m membership.Member) { s.linked <- m.ID }
func (s *source) Disconnected(membership.ID)    {}
func (s *source) Gone(membership.ID)            {}

func (s *source) Pull(to membership.ID, class channel.Class) []byte {
	left, ok := s.left.Load(to)
	if class != channel.Live || !ok || left.(*atomic.Int64).Load() <= 0 {
		return nil
	}
	left.(*atomic.Int64).Add(-1)
	return s.payload
}

func (s *source) Receive(membership.ID, channel.Class, []byte) {
	if s.wanted.Add(-1) == 0 {
		s.done <- struct{}{}
	}
}

// group is some nodes with links over loopback, as nodes have them: gRPC, mutual TLS.
type group struct {
	ends  []*source
	topic *channel.Topic  // of the first
	ids   []membership.ID // of the others
}

func newGroup(b *testing.B, n, size int) *group {
	b.Helper()
	g := &group{}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, n)
	var addrs []string
	for i := range n {
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		name := fmt.Sprint("n", i)
		sec, err := grpctransport.SecretCredentials([]grpctransport.Seed{oldSecret}, name)
		if err != nil {
			b.Fatal(err)
		}
		self := membership.Member{ID: membership.ID{Name: name, Incarnation: 1}, ChannelAddress: lis.Addr().String()}
		c := channel.New(channel.Config{Self: self}, grpctransport.New(sec, lis, nil),
			[]membership.Provider{at(addrs)}, slog.New(slog.DiscardHandler))
		addrs = append(addrs, self.ChannelAddress)
		end := &source{payload: make([]byte, size), linked: make(chan membership.ID, 8*n), done: make(chan struct{}, 1)}
		if t := c.Topic("t", 1, end, nil); i == 0 {
			g.topic = t
		}
		g.ends = append(g.ends, end)
		go func() { stopped <- c.Run(ctx) }()
	}
	b.Cleanup(func() {
		cancel()
		for range n {
			if err := <-stopped; err != nil {
				b.Error(err)
			}
		}
	})
	for i, end := range g.ends {
		for range n - 1 {
			if id := <-end.linked; i == 0 {
				g.ids = append(g.ids, id)
			}
		}
	}
	return g
}

// move moves n payloads from the first node to each other, and waits for the last.
func (g *group) move(n int) {
	for _, end := range g.ends[1:] {
		end.wanted.Store(int64(n))
	}
	for _, id := range g.ids {
		left, _ := g.ends[0].left.LoadOrStore(id, new(atomic.Int64))
		left.(*atomic.Int64).Store(int64(n))
		g.topic.Wake(id, channel.Live, true)
	}
	for _, end := range g.ends[1:] {
		<-end.done
	}
}

// BenchmarkPayloads moves payloads from one node to another over loopback, as many per frame as
// fit: the cost per payload on both sides together.
func BenchmarkPayloads(b *testing.B) {
	for _, size := range []int{100, 4 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			g := newGroup(b, 2, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			g.move(b.N)
		})
	}
}

// BenchmarkFrame moves so many payloads of 100 bytes at once, and the next when they have arrived:
// what a frame costs, from the waking of the sender to the last payload applied, both sides
// together, the acknowledgement included.
func BenchmarkFrame(b *testing.B) {
	for _, batch := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("payloads=%d", batch), func(b *testing.B) {
			g := newGroup(b, 2, 100)
			g.move(batch) // the first finds everything cold
			b.ReportAllocs()
			for b.Loop() {
				g.move(batch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/payload")
		})
	}
}

// BenchmarkBroadcast moves a payload of 100 bytes to each other of so many members, and the next
// when it has arrived at all.
func BenchmarkBroadcast(b *testing.B) {
	for _, members := range []int{2, 4, 8} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			g := newGroup(b, members, 100)
			g.move(1) // the first finds everything cold
			b.ReportAllocs()
			for b.Loop() {
				g.move(1)
			}
		})
	}
}
