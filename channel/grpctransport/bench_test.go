package grpctransport_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"

	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/channel/grpctransport"
	"github.com/nodeserver/nodeserver/membership"
)

// source is a handler that gives as many payloads as it is told to.
type source struct {
	payload []byte
	left    atomic.Int64
	wanted  atomic.Int64
	linked  chan membership.ID
	done    chan struct{} // one for each time that all wanted are there
}

func (s *source) Connected(m membership.Member) { s.linked <- m.ID }
func (s *source) Disconnected(membership.ID)    {}
func (s *source) Gone(membership.ID)            {}

func (s *source) Pull(_ membership.ID, class channel.Class) []byte {
	if class != channel.Live || s.left.Load() <= 0 {
		return nil
	}
	s.left.Add(-1)
	return s.payload
}

func (s *source) Receive(membership.ID, channel.Class, []byte) {
	if s.wanted.Add(-1) == 0 {
		s.done <- struct{}{}
	}
}

// pair is two nodes with a link over loopback, as nodes have it: gRPC, mutual TLS.
type pair struct {
	ends   [2]*source
	topics [2]*channel.Topic
	to     membership.ID // the second, as the first knows it
}

func newPair(b *testing.B, size int) *pair {
	b.Helper()
	p := &pair{}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, len(p.ends))
	var addrs []string
	for i := range p.ends {
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		name := fmt.Sprint("n", i)
		sec, err := grpctransport.SecretCredentials([][]byte{oldSecret}, name)
		if err != nil {
			b.Fatal(err)
		}
		self := membership.Member{ID: membership.ID{Name: name, Boot: 1}, ChannelAddress: lis.Addr().String()}
		c := channel.New(channel.Config{Self: self}, grpctransport.New(sec, lis, nil),
			[]membership.Provider{at(addrs)}, slog.New(slog.DiscardHandler))
		addrs = append(addrs, self.ChannelAddress)
		p.ends[i] = &source{payload: make([]byte, size), linked: make(chan membership.ID, 8), done: make(chan struct{}, 1)}
		p.topics[i] = c.Topic("t", p.ends[i], nil)
		go func() { stopped <- c.Run(ctx) }()
	}
	b.Cleanup(func() {
		cancel()
		for range p.ends {
			if err := <-stopped; err != nil {
				b.Error(err)
			}
		}
	})
	p.to = <-p.ends[0].linked
	<-p.ends[1].linked
	return p
}

// move moves n payloads from the first node to the second and waits for the last.
func (p *pair) move(n int) {
	p.ends[1].wanted.Store(int64(n))
	p.ends[0].left.Store(int64(n))
	p.topics[0].Wake(p.to, channel.Live, true)
	<-p.ends[1].done
}

// BenchmarkPayloads moves payloads from one node to another over loopback, as
// many per frame as fit: the cost per payload on both sides together.
func BenchmarkPayloads(b *testing.B) {
	for _, size := range []int{100, 4 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			p := newPair(b, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			p.move(b.N)
		})
	}
}

// BenchmarkFrame moves so many payloads of 100 bytes at once, and the next when they
// have arrived: what a frame costs, from the waking of the sender to the last
// payload applied, both sides together, the acknowledgement included.
func BenchmarkFrame(b *testing.B) {
	for _, batch := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("payloads=%d", batch), func(b *testing.B) {
			p := newPair(b, 100)
			p.move(batch) // the first finds everything cold
			b.ReportAllocs()
			for b.Loop() {
				p.move(batch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/payload")
		})
	}
}
