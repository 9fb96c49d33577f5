// Package control carries questions and orders between members: how a member is, and the steps of
// a deployment. It is the ControlService of proto/control/v1, on the channel's own port and by its
// proof of identity. It decides nothing: packages admin and deploy do.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nodeserver/nodeserver/channel/grpctransport"
	"github.com/nodeserver/nodeserver/membership"
	controlv1 "github.com/nodeserver/nodeserver/proto/control/v1"
	"github.com/nodeserver/nodeserver/server/deploy"
	"github.com/nodeserver/nodeserver/server/events"
)

// lookTime is how often it is looked whether the member of a call is still there.
const lookTime = 100 * time.Millisecond

// keySize is the size of a session's key.
const keySize = 16

// chunk is how much of a file goes into one message.
const chunk = 256 << 10

// Control is this node's end. Safe for concurrent use.
type Control struct {
	transport *grpctransport.Transport
	cluster   string
	self      membership.ID
	members   func() []membership.Status
	node      Node
}

// Node is this node as other members ask it. Safe for concurrent use.
type Node interface {
	// Here is the node for deployments, or why it takes none.
	Here() (deploy.Peer, error)
	// Report says what the node is, holds, hosts and lacks, as JSON.
	Report() ([]byte, error)
	// Session is what the node has of the session with that key, as JSON.
	Session(key [16]byte) ([]byte, error)
	// Events are what happened at the node.
	Events() *events.Ring
	// Drain says how far the node is with giving its users away, as JSON. Before that it has the
	// node do so or not, unless on is nil, for an operator of the member by.
	Drain(on *bool, operator string, by membership.ID) ([]byte, error)
}

// New makes this node's end. To be called before the transport serves.
func New(t *grpctransport.Transport, cluster string, self membership.ID, members func() []membership.Status, node Node) *Control {
	c := &Control{transport: t, cluster: cluster, self: self, members: members, node: node}
	t.Register(func(r grpc.ServiceRegistrar) { controlv1.RegisterControlServiceServer(r, server{c: c}) })
	return c
}

// Peer is the way to another member.
func (c *Control) Peer(m membership.Member) deploy.Peer { return peer{c, m} }

// server answers other members.
type server struct {
	controlv1.UnimplementedControlServiceServer
	c *Control
}

// admit checks that a member asks.
func (s server) admit(ctx context.Context, w *controlv1.Caller) error {
	by := caller(w)
	_, known := membership.Present(s.c.members(), by)
	switch {
	case w.GetCluster() != s.c.cluster:
		return status.Errorf(codes.PermissionDenied, "this is a node of the cluster %q, not of %q", s.c.cluster, w.GetCluster())
	case !s.c.transport.Proves(ctx, by.Name):
		return status.Errorf(codes.PermissionDenied, "the certificate is not of %q", by.Name)
	case !known:
		return status.Errorf(codes.PermissionDenied, "%s is no member here", by)
	}
	return nil
}

func caller(w *controlv1.Caller) membership.ID {
	return membership.ID{Name: w.GetNode(), Incarnation: w.GetIncarnation()}
}

// deployment admits a step of a deployment, and returns which it is of, and this node.
func (s server) deployment(ctx context.Context, w *controlv1.Caller) (deploy.Deployment, deploy.Peer, error) {
	d := deploy.Deployment{ID: w.GetDeployment(), Operator: w.GetOperator(), By: caller(w)}
	if err := s.admit(ctx, w); err != nil {
		return d, nil, err
	}
	h, err := s.c.node.Here()
	return d, h, failed(err)
}

// failed makes the status of an error.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return status.Error(codes.FailedPrecondition, err.Error())
}

// Report implements the service, as do the methods below.
func (s server) Report(ctx context.Context, r *controlv1.ReportRequest) (*controlv1.ReportResponse, error) {
	if err := s.admit(ctx, r.GetCaller()); err != nil {
		return nil, err
	}
	report, err := s.c.node.Report()
	return &controlv1.ReportResponse{Report: report}, failed(err)
}

func (s server) Session(ctx context.Context, r *controlv1.SessionRequest) (*controlv1.SessionResponse, error) {
	if err := s.admit(ctx, r.GetCaller()); err != nil {
		return nil, err
	}
	if len(r.GetKey()) != keySize {
		return nil, status.Errorf(codes.InvalidArgument, "a session's key has %d bytes, not %d", keySize, len(r.GetKey()))
	}
	c, err := s.c.node.Session([keySize]byte(r.GetKey()))
	return &controlv1.SessionResponse{Copy: c}, failed(err)
}

func (s server) Events(r *controlv1.EventsRequest, stream grpc.ServerStreamingServer[controlv1.EventsResponse]) error {
	if err := s.admit(stream.Context(), r.GetCaller()); err != nil {
		return err
	}
	after := events.Position{Incarnation: r.GetIncarnation(), Seq: r.GetSeq()}
	return s.c.node.Events().Follow(stream.Context(), after, r.GetFollow(), func(e events.Event) error {
		event, err := json.Marshal(e)
		if err != nil {
			return err
		}
		return stream.Send(&controlv1.EventsResponse{Event: event})
	})
}

func (s server) Drain(ctx context.Context, r *controlv1.DrainRequest) (*controlv1.DrainResponse, error) {
	if err := s.admit(ctx, r.GetCaller()); err != nil {
		return nil, err
	}
	reply, err := s.c.node.Drain(r.Draining, r.GetCaller().GetOperator(), caller(r.GetCaller()))
	return &controlv1.DrainResponse{Reply: reply}, failed(err)
}

func (s server) Begin(ctx context.Context, r *controlv1.BeginRequest) (*controlv1.BeginResponse, error) {
	d, h, err := s.deployment(ctx, r.GetCaller())
	if err == nil {
		err = failed(h.Begin(ctx, d, r.GetApp()))
	}
	return &controlv1.BeginResponse{}, err
}

func (s server) Prepare(ctx context.Context, r *controlv1.PrepareRequest) (*controlv1.PrepareResponse, error) {
	d, h, err := s.deployment(ctx, r.GetCaller())
	if err == nil {
		err = failed(h.Prepare(ctx, d, r.GetApp(), r.GetHash()))
	}
	return &controlv1.PrepareResponse{}, err
}

func (s server) Switch(ctx context.Context, r *controlv1.SwitchRequest) (*controlv1.SwitchResponse, error) {
	d, h, err := s.deployment(ctx, r.GetCaller())
	var e deploy.Entry
	if err == nil {
		err = failed(json.Unmarshal(r.GetEntry(), &e))
	}
	if err == nil {
		err = failed(h.Switch(ctx, d, e))
	}
	return &controlv1.SwitchResponse{}, err
}

func (s server) End(ctx context.Context, r *controlv1.EndRequest) (*controlv1.EndResponse, error) {
	d, h, err := s.deployment(ctx, r.GetCaller())
	if err == nil {
		err = failed(h.End(ctx, d, r.GetApp()))
	}
	return &controlv1.EndResponse{}, err
}

func (s server) Blob(r *controlv1.BlobRequest, stream grpc.ServerStreamingServer[controlv1.BlobResponse]) error {
	_, h, err := s.deployment(stream.Context(), r.GetCaller())
	if err == nil {
		err = failed(h.Blob(stream.Context(), r.GetHash(), sender{stream}))
	}
	return err
}

// sender writes into a stream, in pieces that a message may have.
type sender struct {
	stream grpc.ServerStreamingServer[controlv1.BlobResponse]
}

func (s sender) Write(b []byte) (n int, err error) {
	for n < len(b) {
		piece := b[n:min(len(b), n+chunk)]
		if err := s.stream.Send(&controlv1.BlobResponse{Data: append([]byte(nil), piece...)}); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}

// Report is what the member says of itself, as JSON.
func (c *Control) Report(ctx context.Context, m membership.Member) (report []byte, err error) {
	p := peer{c, m}
	err = p.call(ctx, func(ctx context.Context, client controlv1.ControlServiceClient) error {
		r, err := client.Report(ctx, &controlv1.ReportRequest{Caller: p.caller(deploy.Deployment{})})
		report = r.GetReport()
		return err
	})
	return report, err
}

// Session is what the member has of a session, as JSON.
func (c *Control) Session(ctx context.Context, m membership.Member, key [keySize]byte) (sessionCopy []byte, err error) {
	p := peer{c, m}
	err = p.call(ctx, func(ctx context.Context, client controlv1.ControlServiceClient) error {
		r, err := client.Session(ctx, &controlv1.SessionRequest{Caller: p.caller(deploy.Deployment{}), Key: key[:]})
		sessionCopy = r.GetCopy()
		return err
	})
	return sessionCopy, err
}

// Events hands over the member's events after the position, and with follow those to come, until ctx
// ends, the member is gone, or to returns an error.
func (c *Control) Events(
	ctx context.Context, m membership.Member, after events.Position, follow bool, to func(events.Event) error,
) error {
	p := peer{c, m}
	err := p.call(ctx, func(ctx context.Context, client controlv1.ControlServiceClient) error {
		stream, err := client.Events(ctx, &controlv1.EventsRequest{
			Caller: p.caller(deploy.Deployment{}), Incarnation: after.Incarnation, Seq: after.Seq, Follow: follow,
		})
		return each(stream, err, func(r *controlv1.EventsResponse) error {
			var e events.Event
			if err := json.Unmarshal(r.GetEvent(), &e); err != nil {
				return err
			}
			return to(e)
		})
	})
	return err
}

// each hands over what comes by the stream, which was begun with this error, until its end or an error
// of do.
func each[T any](stream grpc.ServerStreamingClient[T], err error, do func(*T) error) error {
	for err == nil {
		var m *T
		if m, err = stream.Recv(); err == nil {
			err = do(m)
		}
	}
	if err == io.EOF { //nolint:errorlint // as it is, by grpc's contract
		return nil
	}
	return err
}

// Drain has the member give its users away or not, for the operator, unless on is nil. It returns how
// far the member is, as JSON.
func (c *Control) Drain(ctx context.Context, m membership.Member, on *bool, operator string) (reply []byte, err error) {
	p := peer{c, m}
	err = p.call(ctx, func(ctx context.Context, client controlv1.ControlServiceClient) error {
		r, err := client.Drain(ctx, &controlv1.DrainRequest{Caller: p.caller(deploy.Deployment{Operator: operator}), Draining: on})
		reply = r.GetReply()
		return err
	})
	return reply, err
}

// peer is another member.
type peer struct {
	c *Control
	m membership.Member
}

func (p peer) Name() string { return p.m.Name }

func (p peer) caller(d deploy.Deployment) *controlv1.Caller {
	return &controlv1.Caller{
		Cluster: p.c.cluster, Node: p.c.self.Name, Incarnation: p.c.self.Incarnation, Deployment: d.ID, Operator: d.Operator,
	}
}

// call makes a connection for one call, which ends when the member is gone.
func (p peer) call(ctx context.Context, do func(context.Context, controlv1.ControlServiceClient) error) error {
	cc, err := p.c.transport.Connect(p.m.ChannelAddress)
	if err != nil {
		return err
	}
	defer func() { _ = cc.Close() }() // nothing more is wanted of it
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go p.watch(ctx, cancel)
	err = do(ctx, controlv1.NewControlServiceClient(cc))
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	if s, ok := status.FromError(err); ok && err != nil {
		if s.Code() == codes.Unimplemented {
			return fmt.Errorf("%s runs a version that does not know this question", p.m.Name)
		}
		return fmt.Errorf("%s", s.Message())
	}
	return err
}

// watch cancels a call when the member is gone.
func (p peer) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	look := time.NewTicker(lookTime)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		if _, there := membership.Present(p.c.members(), p.m.ID); !there {
			cancel(errors.New("it is gone: no answer came"))
			return
		}
	}
}

// Begin implements deploy.Peer, as do the methods below.
func (p peer) Begin(ctx context.Context, d deploy.Deployment, app string) error {
	return p.call(ctx, func(ctx context.Context, c controlv1.ControlServiceClient) error {
		_, err := c.Begin(ctx, &controlv1.BeginRequest{Caller: p.caller(d), App: app})
		return err
	})
}

func (p peer) Prepare(ctx context.Context, d deploy.Deployment, app, hash string) error {
	return p.call(ctx, func(ctx context.Context, c controlv1.ControlServiceClient) error {
		_, err := c.Prepare(ctx, &controlv1.PrepareRequest{Caller: p.caller(d), App: app, Hash: hash})
		return err
	})
}

func (p peer) Switch(ctx context.Context, d deploy.Deployment, e deploy.Entry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return p.call(ctx, func(ctx context.Context, c controlv1.ControlServiceClient) error {
		_, err := c.Switch(ctx, &controlv1.SwitchRequest{Caller: p.caller(d), Entry: b})
		return err
	})
}

func (p peer) End(ctx context.Context, d deploy.Deployment, app string) error {
	return p.call(ctx, func(ctx context.Context, c controlv1.ControlServiceClient) error {
		_, err := c.End(ctx, &controlv1.EndRequest{Caller: p.caller(d), App: app})
		return err
	})
}

func (p peer) Blob(ctx context.Context, hash string, to io.Writer) error {
	return p.call(ctx, func(ctx context.Context, c controlv1.ControlServiceClient) error {
		stream, err := c.Blob(ctx, &controlv1.BlobRequest{Caller: p.caller(deploy.Deployment{}), Hash: hash})
		return each(stream, err, func(r *controlv1.BlobResponse) error {
			_, err := to.Write(r.GetData())
			return err
		})
	})
}
