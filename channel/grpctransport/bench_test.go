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
	done    chan struct{}
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
		close(s.done)
	}
}

// BenchmarkPayloads moves payloads from one node to another over loopback, as
// many per frame as fit: the cost per payload on both sides together.
func BenchmarkPayloads(b *testing.B) {
	secret := grpctransport.SecretCredentials
	for _, size := range []int{100, 4 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			var ends [2]*source
			var topics [2]*channel.Topic
			var addrs []string
			ctx, cancel := context.WithCancel(b.Context())
			stopped := make(chan error, 2)
			for i := range ends {
				lis, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					b.Fatal(err)
				}
				name := fmt.Sprint("n", i)
				sec, err := secret([][]byte{oldSecret}, name)
				if err != nil {
					b.Fatal(err)
				}
				self := membership.Member{ID: membership.ID{Name: name, Boot: 1}, ChannelAddress: lis.Addr().String()}
				c := channel.New(channel.Config{Self: self}, grpctransport.New(sec, lis, nil),
					[]membership.Provider{at(addrs)}, slog.New(slog.DiscardHandler))
				addrs = append(addrs, self.ChannelAddress)
				ends[i] = &source{payload: make([]byte, size), linked: make(chan membership.ID, 8), done: make(chan struct{})}
				topics[i] = c.Topic("t", ends[i], nil)
				go func() { stopped <- c.Run(ctx) }()
			}
			to := <-ends[0].linked
			<-ends[1].linked
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			ends[1].wanted.Store(int64(b.N))
			ends[0].left.Store(int64(b.N))
			topics[0].Wake(to, channel.Live, true)
			<-ends[1].done
			b.StopTimer()
			cancel()
			for range ends {
				if err := <-stopped; err != nil {
					b.Error(err)
				}
			}
		})
	}
}
