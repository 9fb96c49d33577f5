package balance

import (
	"context"
	"errors"
	"slices"
	"time"
)

// errFull says that all nodes that could serve the request had as many as they may.
var errFull = errors.New("all nodes that could serve it have as many requests as they may")

// maxQueued bounds the requests that wait for a node.
const maxQueued = 1024

// waiter is a request that waits until a node may have one more.
type waiter struct {
	path  string
	tried []*node
	got   chan *node // holds one, and is written to once
}

// full tells whether the node has as many requests as it may. Called with mu held.
func (p *pool) full(n *node) bool { return p.most > 0 && n.inflight >= p.most }

// serves tells whether the node is one of those for which it is worth while to wait. Called with
// mu held.
func (n *node) serves() bool { return !n.far && n.worth(nil) >= worthWaiting }

// wait is take for a request that found all nodes full. It returns errFull after the time, or if
// too many wait already.
func (p *pool) wait(ctx context.Context, path string, tried []*node, patience time.Duration) (*node, error) {
	w := &waiter{path: path, tried: tried, got: make(chan *node, 1)}
	if !p.enqueue(w, patience) {
		return nil, errFull
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	err := errFull
	select {
	case n := <-w.got:
		return n, nil
	case <-timer.C:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if p.dequeue(w) {
		return nil, err
	}
	n := <-w.got // meanwhile
	if !errors.Is(err, errFull) {
		p.release(n)
		return nil, err
	}
	return n, nil
}

func (p *pool) enqueue(w *waiter, patience time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if patience <= 0 || len(p.queue) >= maxQueued {
		return false
	}
	p.queue = append(p.queue, w)
	for _, n := range p.nodes { // one may have become free since
		p.admit(n)
	}
	return true
}

// dequeue tells whether the request still waited.
func (p *pool) dequeue(w *waiter) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.queue, w)
	if i >= 0 {
		p.queue = slices.Delete(p.queue, i, i+1)
	}
	return i >= 0
}

// admit gives the node requests that wait, the longest first. Called with mu held.
func (p *pool) admit(n *node) {
	for i := 0; i < len(p.queue) && n.serves() && !p.full(n); {
		w := p.queue[i]
		if !n.hosts(w.path) || slices.Contains(w.tried, n) {
			i++
			continue
		}
		p.queue = slices.Delete(p.queue, i, i+1)
		n.inflight++
		w.got <- n
	}
}

// queued counts requests that wait for a node.
func (p *pool) queued() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.queue)
}
