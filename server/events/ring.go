package events

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Size is how many events a node remembers.
const Size = 4096

// Events that were told within this time, of the latest sameAmong, are counted if they happen again.
const (
	sameTime  = time.Minute
	sameAmong = 64
)

// Event is one thing that happened at a node, maybe several times.
type Event struct {
	Seq         uint64    `json:"seq"`         // grows with each event of the node's life, and when one is repeated
	Node        string    `json:"node"`        // where it happened
	Incarnation string    `json:"incarnation"` // of the node, hex
	Time        time.Time `json:"time"`        // when it happened last
	First       time.Time `json:"first"`       // when it happened first
	Count       int       `json:"count"`       // how often
	Kind        Kind      `json:"kind"`
	Level       string    `json:"level"` // INFO, WARN, ERROR
	App         string    `json:"app,omitempty"`
	Text        string    `json:"text"` // one sentence
}

// Ring has the latest events of a node. Safe for concurrent use.
type Ring struct {
	node, incarnation string

	mu     sync.Mutex
	seq    uint64
	list   []Event       // by Seq
	change chan struct{} // closed when the list changes
}

// NewRing makes the ring of a node's life; incarnation in hex.
func NewRing(node, incarnation string) *Ring {
	return &Ring{node: node, incarnation: incarnation, change: make(chan struct{})}
}

// add notes an event that happened count times, or counts it.
func (r *Ring) add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	e.Seq, e.Node, e.Incarnation, e.First = r.seq, r.node, r.incarnation, e.Time
	from := max(0, len(r.list)-sameAmong)
	if i := slices.IndexFunc(r.list[from:], e.same); i >= 0 {
		was := r.list[from+i]
		e.First, e.Count = was.First, was.Count+e.Count
		r.list = slices.Delete(r.list, from+i, from+i+1)
	}
	if len(r.list) >= Size {
		r.list = slices.Delete(r.list, 0, 1)
	}
	r.list = append(r.list, e)
	close(r.change)
	r.change = make(chan struct{})
}

// same tells whether an earlier event is the same, and not long ago.
func (e Event) same(was Event) bool {
	return e.Kind == was.Kind && e.Text == was.Text && e.App == was.App && e.Time.Sub(was.Time) < sameTime
}

// After are the events whose Seq is higher, and a channel that closes when there are more.
func (r *Ring) After(seq uint64) ([]Event, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, _ := slices.BinarySearchFunc(r.list, seq+1, func(e Event, seq uint64) int {
		if e.Seq < seq {
			return -1
		}
		return 1
	})
	return slices.Clone(r.list[i:]), r.change
}

// Follow hands over the events after the position, and with follow those to come, until ctx ends or
// to returns an error, which it returns.
func (r *Ring) Follow(ctx context.Context, after Position, follow bool, to func(Event) error) error {
	if after.Incarnation != r.incarnation {
		after.Seq = 0
	}
	for {
		list, more := r.After(after.Seq)
		for _, e := range list {
			if err := to(e); err != nil {
				return err
			}
			after.Seq = e.Seq
		}
		if !follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-more:
		}
	}
}
