package membership

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// proposeAgain is the time after which a provider proposes unchanged addresses again: a channel
// that has forgotten one of them meanwhile dials it again.
const proposeAgain = 5 * time.Second

// Static is the provider of addresses that the operator has listed. It proposes host names as they
// are: the dialer looks them up anew each time.
type Static struct {
	addresses []string
	count     counters
}

var _ Provider = (*Static)(nil)

// NewStatic returns a provider of these addresses, host:port each. The node's own may be among
// them, so that one list fits all nodes. See [CheckAddress] for what Run will accept.
func NewStatic(addresses []string) *Static {
	return &Static{addresses: slices.Clone(addresses)}
}

// Name is "static".
func (s *Static) Name() string { return "static" }

// Stats counts each round as a query and each address proposed as an answer. Safe for concurrent
// use.
func (s *Static) Stats() Stats { return s.count.stats() }

// Run proposes all addresses at once, and again every 5 s until ctx ends. If one is malformed it
// proposes none and returns an error that names all such.
func (s *Static) Run(ctx context.Context, found func(Candidate)) error {
	var wrong []error
	for _, a := range s.addresses {
		if err := CheckAddress(a); err != nil {
			wrong = append(wrong, fmt.Errorf("membership.static: %w", err))
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return err
	}
	every(ctx, proposeAgain, func() {
		propose(s.addresses, &s.count, found)
		s.count.queries.Add(1)
	})
	return nil
}

func propose(addresses []string, count *counters, found func(Candidate)) {
	for _, a := range addresses {
		count.answers.Add(1)
		found(Candidate{Address: a})
	}
}
