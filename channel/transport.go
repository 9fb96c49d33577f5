package channel

import (
	"context"

	"github.com/nodeserver/nodeserver/membership"
)

// Transport is the channel's way to the network. Package grpctransport has the one in use.
type Transport interface {
	// Serve answers other nodes with the methods of s until ctx ends. It returns after everything
	// it started has returned, calls of s included.
	Serve(ctx context.Context, s Service) error
	// Dial prepares a connection. The first call that needs the connection makes it.
	Dial(addr string) (Conn, error)
}

// Conn is a connection to the node at an address.
type Conn interface {
	// Exchange opens a stream, says hello, and waits for the answer: a welcome, or an error, which
	// is a *Refusal if the other side refused. The stream ends when ctx does. An error wraps
	// ErrRefused, ErrLack, ErrSecret, ErrPlain where it is one of them.
	Exchange(ctx context.Context, h Hello) (Outgoing, Welcome, error)
	// Probe asks for the incarnation of the node at the address, or, through it, of the one at
	// target; 0 means that the target gave no answer.
	Probe(ctx context.Context, cluster, target string) (incarnation uint64, err error)
	// Close ends the connection and its streams.
	Close() error
}

// Outgoing is the sender's end of a stream. Send and CloseSend are not for concurrent use; Wait may
// run beside them.
type Outgoing interface {
	// Send blocks while the receiver is busy. The payloads' bytes must not change afterwards: they
	// may be written later.
	Send(Message) error
	// CloseSend says that nothing more will be sent.
	CloseSend() error
	// Wait returns when the receiver has ended the stream: nil if in order.
	Wait() error
}

// Incoming is the receiver's end of a stream. It ends when the call of Service.Exchange that got it
// returns; Recv then fails.
type Incoming interface {
	Recv() (Message, error) // io.EOF when the sender said CloseSend
	Welcome(Welcome) error
	Refuse(Refusal) error
	Peer() Peer
}

// Peer is the other side of a stream as the transport knows it.
type Peer struct {
	Address string   // for logs
	Names   []string // proven by its certificate; nil: the transport has no proofs
}

// Service is the channel as a Transport calls it. Calls run in goroutines of the transport.
type Service interface {
	Exchange(ctx context.Context, in Incoming) error
	Probe(ctx context.Context, cluster, target string) (incarnation uint64, err error)
	// Watch sends the member list, now and after each change.
	Watch(ctx context.Context, cluster string, send func([]membership.Status) error) error
	// Failed says that a connection from addr failed in its handshake: ErrSecret, ErrPlain.
	Failed(addr string, err error)
}
