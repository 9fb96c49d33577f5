package balance

import (
	"maps"
	"slices"
	"strings"
	"sync"
)

// Reasons of a retry, as Stats counts them.
const (
	RetryDial   = "dial"     // no connection: nothing had been sent
	RetryBroken = "broken"   // connection lost before the response began
	RetryDoubt  = "doubt"    // no connection made: others to that node had just broken off
	RetryNext   = "next"     // the node is not ready, and says that another may be asked
	RetryOwn    = "own_lack" // no connection made: the balancer itself has no descriptor, port or memory left
)

// Reasons why a request whose connection broke was not sent to another node.
const (
	WithheldMethod   = "method"   // it is not idempotent
	WithheldRepeated = "repeated" // the connection to a second node broke as well
	WithheldPath     = "path"     // requests for its path have just broken two nodes
)

// Stats is what a Balancer has counted since it was made.
type Stats struct {
	Requests uint64            // all that came
	Retries  map[string]uint64 // by reason; one request may have several
	Rehomed  []Rehomed         // answered by another node than their cookie names
	Withheld map[string]uint64 // not repeated though the connection broke, by reason
	Errors   uint64            // answered 502 or 503 by the balancer itself
	Full     uint64            // of these: the nodes had as many requests as they may
	Downs    uint64            // times that a node was marked down
}

// Rehomed counts requests whose cookie names node From and that To answered.
// From is "" for names that aren't, or aren't any more, in the node list.
type Rehomed struct {
	From, To string
	Requests uint64
}

type move struct{ from, to string }

// stats counts. It has its own lock, held for no longer than an addition.
type stats struct {
	mu       sync.Mutex
	requests uint64
	errors   uint64
	downs    uint64
	fulls    uint64
	retries  map[string]uint64
	held     map[string]uint64
	moves    map[move]uint64 // bounded by the pairs of names ever listed
	fresh    map[move]uint64 // of moves: not in the log yet
}

func newStats() *stats {
	return &stats{retries: map[string]uint64{}, held: map[string]uint64{}, moves: map[move]uint64{}, fresh: map[move]uint64{}}
}

func (s *stats) request() {
	s.mu.Lock()
	s.requests++
	s.mu.Unlock()
}

func (s *stats) failed() {
	s.mu.Lock()
	s.errors++
	s.mu.Unlock()
}

func (s *stats) full() {
	s.mu.Lock()
	s.fulls++
	s.mu.Unlock()
}

func (s *stats) down() {
	s.mu.Lock()
	s.downs++
	s.mu.Unlock()
}

func (s *stats) retried(reason string) {
	s.mu.Lock()
	s.retries[reason]++
	s.mu.Unlock()
}

func (s *stats) withheld(reason string) {
	s.mu.Lock()
	s.held[reason]++
	s.mu.Unlock()
}

func (s *stats) moved(from, to string) {
	s.mu.Lock()
	s.moves[move{from, to}]++
	s.fresh[move{from, to}]++
	s.mu.Unlock()
}

// takeFresh returns the moves since the last call, sorted.
func (s *stats) takeFresh() []Rehomed {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := rehomed(s.fresh)
	clear(s.fresh)
	return list
}

func rehomed(m map[move]uint64) []Rehomed {
	var list []Rehomed
	for k, n := range m {
		list = append(list, Rehomed{k.from, k.to, n})
	}
	slices.SortFunc(list, func(a, b Rehomed) int { return strings.Compare(a.From+"."+a.To, b.From+"."+b.To) })
	return list
}

// Stats returns what was counted so far. Safe for concurrent use.
func (b *Balancer) Stats() Stats {
	s := b.stats
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Requests: s.requests, Retries: maps.Clone(s.retries), Withheld: maps.Clone(s.held),
		Rehomed: rehomed(s.moves), Errors: s.errors, Full: s.fulls, Downs: s.downs,
	}
}
