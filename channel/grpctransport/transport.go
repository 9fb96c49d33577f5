package grpctransport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"

	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/channel/listen"
	"github.com/nodeserver/nodeserver/membership"
	channelv1 "github.com/nodeserver/nodeserver/proto/channel/v1"
)

// Both ends of a connection use these limits, so that neither end does more than the other allows.
const (
	maxMessage    = 4 << 20
	streamWindow  = 1 << 20
	connWindow    = 4 << 20 // a slow bulk stream must not use up what live needs
	maxStreams    = 16      // per connection: two of a link, probes, a watch
	pingAfter     = 10 * time.Second
	pingTimeout   = 5 * time.Second
	pingAllowed   = pingAfter / 2
	handshakeTime = 5 * time.Second
	farewell      = 100 * time.Millisecond // for the last bytes of a connection that is closed
)

// Dialer makes network connections; net.Dialer's DialContext is the usual one.
type Dialer func(ctx context.Context, addr string) (net.Conn, error)

// Transport carries a channel over gRPC. Safe for concurrent use.
type Transport struct {
	sec      Security
	lis      net.Listener
	dial     Dialer
	services []func(grpc.ServiceRegistrar)
}

var _ channel.Transport = (*Transport)(nil)

// New returns a transport that serves at lis, which Serve closes; nil if it is to dial only. dial
// may be nil for TCP, to those addresses that sec allows (see [Security.Dialer]).
func New(sec Security, lis net.Listener, dial Dialer) *Transport {
	if dial == nil {
		d := sec.Dialer(0)
		dial = func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	}
	return &Transport{sec: sec, lis: lis, dial: dial}
}

// Register adds a service to those that Serve serves, for the same clients and by the same proof of
// who they are. To be called before Serve.
func (t *Transport) Register(service func(grpc.ServiceRegistrar)) {
	t.services = append(t.services, service)
}

// Proves tells whether the client of a call that Serve serves has proved to be of that name. Where
// nodes have no certificates, nobody proves anything, and everybody is believed.
func (t *Transport) Proves(ctx context.Context, name string) bool {
	p, _ := peer.FromContext(ctx)
	names := t.sec.certNames(p)
	return names == nil || slices.Contains(names, name)
}

// Connect prepares a connection to the services that the node at addr has registered. It is to be
// closed.
func (t *Transport) Connect(addr string) (*grpc.ClientConn, error) {
	c, err := t.Dial(addr)
	if err != nil {
		return nil, err
	}
	return c.(*conn).cc, nil
}

// Serve answers others until ctx ends.
func (t *Transport) Serve(ctx context.Context, s channel.Service) error {
	g := grpc.NewServer(
		grpc.Creds(t.sec.server(s.Failed)),
		grpc.WaitForHandlers(true),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.InitialWindowSize(streamWindow),
		grpc.InitialConnWindowSize(connWindow),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(handshakeTime),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingAfter, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingAllowed, PermitWithoutStream: true}),
	)
	channelv1.RegisterChannelServiceServer(g, &server{service: s, sec: t.sec})
	for _, register := range t.services {
		register(g)
	}
	var stop sync.WaitGroup
	served := make(chan struct{})
	stop.Go(func() {
		select {
		case <-ctx.Done():
		case <-served:
		}
		g.Stop()
	})
	err := g.Serve(t.lis)
	close(served)
	stop.Wait()
	if ctx.Err() != nil {
		return nil //nolint:nilerr // stopped as asked
	}
	return err
}

// Dial prepares a connection to addr.
func (t *Transport) Dial(addr string) (channel.Conn, error) {
	c := &conn{addr: addr, sec: t.sec}
	cc, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(t.sec.client(c.note)),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			nc, err := t.dial(ctx, addr)
			if err != nil {
				c.note(err)
				return nil, err
			}
			c.dialled(nc)
			return nc, nil
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout}),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithIdleTimeout(0),
	)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	c.cc, c.client = cc, channelv1.NewChannelServiceClient(cc)
	return c, nil
}

// Watch asks the member at addr for the member list, and calls f with it at once and after each
// change, until ctx ends or the member does; it then returns the reason. The caller does not become
// a member.
func (t *Transport) Watch(ctx context.Context, addr, cluster string, f func([]membership.Status)) error {
	d, err := t.Dial(addr)
	if err != nil {
		return err
	}
	c := d.(*conn)
	defer c.Close() //nolint:errcheck // nothing more is wanted of it
	stream, err := c.client.Watch(ctx, &channelv1.WatchRequest{Cluster: cluster})
	for err == nil {
		var r *channelv1.WatchResponse
		if r, err = stream.Recv(); err == nil {
			f(fromStatuses(r.GetMembers()))
		}
	}
	return fmt.Errorf("watch members at %s: %w", addr, c.explain(err))
}

// known turns errors of the network into those the channel asks for.
func known(err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w (%w)", channel.ErrRefused, err)
	case listen.OwnLack(err):
		return fmt.Errorf("%w (%w)", channel.ErrLack, err)
	}
	return err
}
