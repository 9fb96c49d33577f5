package balance

import (
	"context"
	"slices"
)

// Use says what a node may be used for.
type Use int

// Uses, from least to most. The zero value is a node that gets no requests: it is listed
// for the apps that it hosts.
const (
	Spare Use = iota + 1 // only if nothing better is there
	Keep                 // sessions it already serves, no new ones
	Full                 // everything
)

// String is the use in lower case.
func (u Use) String() string {
	switch u {
	case Full:
		return "full"
	case Keep:
		return "keep"
	case Spare:
		return "spare"
	}
	return "unknown"
}

// Node is where requests can go. A value; the zero value is nobody.
type Node struct {
	Name        string // also the route in session cookies
	Incarnation uint64 // which incarnation of the name; 0 where that isn't known
	Address     string // host:port of its HTTP listener
	Use         Use
	Domain      string // part of the cluster within which sessions are shared
	TLS         bool   // its HTTP listener speaks it
	Apps        []App  // that it hosts; nil: not known, so it may get any request
}

// Source tells which nodes there are.
type Source interface {
	// Run calls update with the whole list, at first and after each change,
	// until ctx ends; then it returns nil. It returns earlier only with the
	// reason why it can't ever tell a list. Calls of update don't overlap; it
	// keeps no reference to the list.
	Run(ctx context.Context, update func([]Node)) error
}

// Fixed is a Source that never changes. Nodes without a Use are Full.
type Fixed []Node

// Run implements Source.
func (f Fixed) Run(ctx context.Context, update func([]Node)) error {
	list := slices.Clone(f)
	for i := range list {
		if list[i].Use == 0 {
			list[i].Use = Full
		}
	}
	update(list)
	<-ctx.Done()
	return nil
}
