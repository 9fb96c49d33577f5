package grpctransport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/nodeserver/nodeserver/channel"
	channelv1 "github.com/nodeserver/nodeserver/proto/channel/v1"
)

// conn is a connection to one address. gRPC gives the reason of a failed connection as text only,
// so the dialer and the handshake keep the cause here.
type conn struct {
	addr   string
	sec    Security
	cc     *grpc.ClientConn
	client channelv1.ChannelServiceClient

	mu  sync.Mutex
	err error
	raw net.Conn // the latest
}

func (c *conn) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// explain adds the cause to an error of a call.
func (c *conn) explain(err error) error {
	if err == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return fmt.Errorf("%s: %w", c.addr, known(c.err))
	}
	if s, ok := status.FromError(err); ok {
		return fmt.Errorf("%s: %s", c.addr, s.Message())
	}
	return fmt.Errorf("%s: %w", c.addr, err)
}

// Exchange opens a stream and says hello.
func (c *conn) Exchange(ctx context.Context, h channel.Hello) (channel.Outgoing, channel.Welcome, error) {
	var none channel.Welcome
	stream, err := c.client.Exchange(ctx)
	if err != nil {
		return nil, none, c.explain(err)
	}
	out := &outgoing{conn: c, stream: stream}
	if err := out.Send(channel.Message{Hello: &h}); err != nil && !errors.Is(err, io.EOF) {
		return nil, none, err
	}
	r, err := stream.Recv()
	if err != nil {
		return nil, none, c.explain(err)
	}
	if f := r.GetRefusal(); f != nil {
		refusal := fromRefusal(f)
		return nil, none, fmt.Errorf("%s: %w", c.addr, &refusal)
	}
	w := fromWelcome(r.GetWelcome())
	// gRPC puts the peer there; its call option knows it only when the call is over.
	p, _ := peer.FromContext(stream.Context()) //nolint:contextcheck // see above
	if names := c.sec.certNames(p); names != nil && !slices.Contains(names, w.Self.Name) {
		return nil, none, fmt.Errorf("%s: welcome of %q with a certificate of %q", c.addr, w.Self.Name, strings.Join(names, ", "))
	}
	return out, w, nil
}

// Probe asks for the incarnation of a node.
func (c *conn) Probe(ctx context.Context, cluster, target string) (uint64, error) {
	r, err := c.client.Probe(ctx, &channelv1.ProbeRequest{Cluster: cluster, TargetAddress: target})
	return r.GetIncarnation(), c.explain(err)
}

// Close ends the connection. It does not wait for a member that takes no bytes any more: gRPC alone
// would wait for 5 s, and so would every caller that needs an answer of that member.
func (c *conn) Close() error {
	defer time.AfterFunc(farewell, c.breakOff).Stop()
	return c.cc.Close()
}

func (c *conn) breakOff() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.raw != nil {
		_ = c.raw.Close() // gRPC's next read or write fails
	}
}

func (c *conn) dialled(nc net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw = nc
}

// outgoing is the dialling end of an exchange.
type outgoing struct {
	conn   *conn
	stream grpc.BidiStreamingClient[channelv1.ExchangeRequest, channelv1.ExchangeResponse]
}

// Send writes a message. It returns io.EOF if the stream has ended; Wait has the reason.
func (o *outgoing) Send(m channel.Message) error {
	err := o.stream.Send(toMessage(m))
	if err != nil && !errors.Is(err, io.EOF) {
		return o.conn.explain(err)
	}
	return err
}

// CloseSend says that nothing more will be sent.
func (o *outgoing) CloseSend() error { return o.stream.CloseSend() }

// Wait returns when the stream has ended.
func (o *outgoing) Wait() error {
	for {
		if _, err := o.stream.Recv(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return o.conn.explain(err)
		}
	}
}
