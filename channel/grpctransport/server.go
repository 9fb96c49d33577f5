package grpctransport

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/membership"
	channelv1 "github.com/nodeserver/nodeserver/proto/channel/v1"
)

// server passes calls on to the channel.
type server struct {
	channelv1.UnimplementedChannelServiceServer
	service channel.Service
	sec     Security
}

type exchange = grpc.BidiStreamingServer[channelv1.ExchangeRequest, channelv1.ExchangeResponse]

// Exchange receives another member's stream.
func (s *server) Exchange(stream exchange) error {
	p, _ := peer.FromContext(stream.Context())
	in := &incoming{stream: stream}
	if p != nil {
		in.peer = channel.Peer{Address: p.Addr.String(), Names: s.sec.certNames(p)}
	}
	return ended(s.service.Exchange(stream.Context(), in))
}

// Probe answers with an incarnation.
func (s *server) Probe(ctx context.Context, r *channelv1.ProbeRequest) (*channelv1.ProbeResponse, error) {
	incarnation, err := s.service.Probe(ctx, r.GetCluster(), r.GetTargetAddress())
	if err != nil {
		return nil, ended(err)
	}
	return &channelv1.ProbeResponse{Incarnation: incarnation}, nil
}

// Watch sends the member list and its changes.
func (s *server) Watch(r *channelv1.WatchRequest, stream grpc.ServerStreamingServer[channelv1.WatchResponse]) error {
	return ended(s.service.Watch(stream.Context(), r.GetCluster(), func(list []membership.Status) error {
		return stream.Send(&channelv1.WatchResponse{Members: toStatuses(list)})
	}))
}

// ended makes the status with which a call ends.
func ended(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Unavailable, err.Error())
}

// incoming is the receiving end of an exchange.
type incoming struct {
	stream exchange
	peer   channel.Peer
}

// Recv reads the next message.
func (i *incoming) Recv() (channel.Message, error) {
	m, err := i.stream.Recv()
	if err != nil {
		switch s, ok := status.FromError(err); {
		case ok && s.Code() == codes.Canceled: // gRPC's word for both
			return channel.Message{}, errors.New("the connection or the stream was closed")
		case ok:
			return channel.Message{}, errors.New(s.Message())
		}
		return channel.Message{}, err
	}
	return fromMessage(m), nil
}

// Welcome accepts the hello.
func (i *incoming) Welcome(w channel.Welcome) error { return i.stream.Send(toWelcome(w)) }

// Refuse refuses the hello.
func (i *incoming) Refuse(r channel.Refusal) error { return i.stream.Send(toRefusal(r)) }

// Peer is the sender.
func (i *incoming) Peer() channel.Peer { return i.peer }

// certNames are the members' names that the other side's certificate proves; nil without TLS, which
// proves none.
func (s Security) certNames(p *peer.Peer) []string {
	names := s.now().names
	if names == nil {
		return nil
	}
	if p != nil {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.PeerCertificates) > 0 {
			return names(info.State.PeerCertificates[0])
		}
	}
	return []string{}
}
