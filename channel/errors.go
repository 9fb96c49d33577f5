package channel

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nodeserver/nodeserver/membership"
)

// Errors of a transport when an address can't be reached, for errors.Is.
var (
	// ErrRefused: the machine answers that nothing listens at the port.
	ErrRefused = errors.New("connection refused")
	// ErrLack: this machine or process has no descriptor, port or memory left for a connection.
	// That says nothing about the address.
	ErrLack = errors.New("this node lacks descriptors, ports or memory of its own")
	// ErrSecret: one side's certificate does not come from the other side's cluster secret or CA.
	ErrSecret = errors.New("the cluster secrets differ: give both nodes the same [cluster] secret_file (or CA)")
	// ErrCertificate is an ErrSecret where the operator's own certificates are used.
	ErrCertificate error = certificateError{}
	// ErrPlain: one side speaks TLS and the other doesn't.
	ErrPlain = errors.New("one side speaks TLS and the other doesn't: give both a [cluster] secret_file, or neither")
)

// Reason says why a hello was refused.
type Reason int

// Reasons of a Refusal.
const (
	RefusedSelf       Reason = iota + 1 // the node dialled itself
	RefusedCluster                      // another cluster name
	RefusedWire                         // no common wire version
	RefusedDuplicate                    // a live node has the sender's name
	RefusedSuperseded                   // a newer incarnation of the name has taken its place
	RefusedInvalid                      // the hello itself is wrong
	RefusedLeaving                      // the node that was asked is leaving
)

// Refusal is the answer of a node that does not accept a hello. It is also the error of a dial that
// got this answer.
type Refusal struct { //nolint:errname // a message first of all
	Reason Reason
	Text   string            // what differs, and where
	Holder membership.Member // of the name, for RefusedDuplicate and RefusedSuperseded
	Own    bool              // the holder is the node that refuses

	Newcomer bool // the holder is not a member yet itself
}

// Error is the refusal's text.
func (r *Refusal) Error() string { return r.Text }

// DuplicateNameError says that a live node of the cluster has this node's name. Run returns it
// while the node is new; later it is a Problem.
type DuplicateNameError struct {
	Name    string
	Address string // channel address of the node that has the name
}

// Error names the owner of the name, and the cure.
func (e *DuplicateNameError) Error() string {
	return fmt.Sprintf("node name %q is taken by the live node at %s: choose another [node] name", e.Name, e.Address)
}

// StrayError says that the nodes which this new node found are of another cluster: the secret, the
// cluster name or the wire version differs. Run returns it, because alone the node would be a
// cluster of its own, unnoticed.
type StrayError struct {
	Address string // where it was refused
	Err     error
}

// Error says what differs, and the cure.
func (e *StrayError) Error() string {
	why := strings.TrimPrefix(e.Err.Error(), e.Address+": ")
	return fmt.Sprintf("the node at %s is of another cluster, and no other was found: %s", e.Address, why)
}

// Unwrap is what differs.
func (e *StrayError) Unwrap() error { return e.Err }

// SupersededError says that a newer incarnation of this node's name has taken its place in the
// cluster: the members had given this process up, or the node was started twice.
type SupersededError struct {
	Name    string
	Address string // channel address of the newer incarnation
}

// Error names the newer incarnation, and the cure.
func (e *SupersededError) Error() string {
	return fmt.Sprintf("a newer node of the name %q at %s has taken the place of this one: stop one of the two", e.Name, e.Address)
}

// Reasons for the end of a link; for logs, and for the statuses of streams.
var (
	errLeft     = errors.New("the member left")
	errLeaving  = errors.New("this node leaves")
	errGone     = errors.New("the member is gone")
	errAnew     = errors.New("the member began a new link")
	errStopped  = errors.New("channel stopped")
	errHalf     = errors.New("the member did not dial back in time: can it reach this node's advertised address?")
	errEnded    = errors.New("the member ended the stream")
	errEnding   = errors.New("the link is ending")
	errAlias    = errors.New("linked already under another address")
	errProtocol = errors.New("unexpected message")
)

type certificateError struct{}

func (certificateError) Error() string {
	return "the certificate of one side is not a member's: give both nodes certificates of the CA in " +
		"channel.tls_ca, with a name that channel.tls_allowed allows on the other node"
}

// Is makes an ErrCertificate an ErrSecret for errors.Is.
func (certificateError) Is(target error) bool { return target == ErrSecret }
