package balance

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/channel/listen"
)

// update takes a list of the Source over.
func (b *Balancer) update(list []Node) {
	for _, c := range b.pool.update(list) {
		if c.added {
			b.log.Info("node added", "node", c.Name, "addr", c.Address)
		} else {
			b.log.Info("node removed", "node", c.Name, "addr", c.Address)
		}
	}
}

func (b *Balancer) markDown(n *node, err error) {
	if n.gone.Err() == nil && b.pool.set(n, true) {
		b.stats.down()
		b.log.Warn("node down", "node", n.Name, "addr", n.Address, "err", err)
	}
}

func (b *Balancer) markUp(n *node) {
	if b.pool.set(n, false) {
		b.log.Info("node up", "node", n.Name, "addr", n.Address)
	}
}

// noteMove counts a request that another node answered than the one its cookie
// names.
func (b *Balancer) noteMove(v *visit) {
	if len(v.routes) == 0 || slices.Contains(v.routes, v.node.Name) {
		return
	}
	from := v.routes[0]
	if !b.pool.known(from) {
		from = "" // a name a stranger may have made up must not become a key
	}
	b.stats.moved(from, v.node.Name)
}

// watchOver probes nodes that are down, and logs moves, until ctx ends.
func (b *Balancer) watchOver(ctx context.Context) {
	tick := time.NewTicker(b.cfg.HealthInterval)
	defer tick.Stop()
	var moves moveLog
	for {
		select {
		case <-ctx.Done():
			moves.add(time.Now(), b.stats.takeFresh())
			b.logMoves(moves.flush())
			return
		case <-tick.C:
			b.probe(ctx)
			b.logMoves(moves.tick(time.Now(), b.stats.takeFresh()))
		}
	}
}

// probe asks all nodes that are down, at once.
func (b *Balancer) probe(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	for _, n := range b.pool.isDown() {
		all.Go(func() {
			if n.alive(ctx) == nil {
				b.markUp(n)
			}
		})
	}
}

// trustTime is for how long a node that was in doubt and lives is not doubted
// again: apps may end connections as they like.
const trustTime = 50 * time.Millisecond

// broke puts a node in doubt, because it ended a connection: if its process was
// killed, requests should go elsewhere before each of them finds out. What else
// ends connections, as a handler that aborts or an idle time, costs the node's
// users at most a visit elsewhere, and the node a question.
func (b *Balancer) broke(n *node) {
	over := make(chan struct{})
	if n.gone.Err() != nil || time.Now().UnixNano() < n.trusted.Load() || !n.doubt.CompareAndSwap(nil, &over) {
		return
	}
	select {
	case b.ask <- n:
	default: // many at once, or nobody runs: let requests find out
		b.undoubt(n)
	}
}

func (b *Balancer) undoubt(n *node) { close(*n.doubt.Swap(nil)) }

// settleDoubts asks nodes in doubt whether they live, until ctx ends.
func (b *Balancer) settleDoubts(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-b.ask:
			all.Go(func() {
				defer b.undoubt(n)
				if err := n.alive(ctx); err == nil {
					n.trusted.Store(time.Now().Add(trustTime).UnixNano())
				} else if ctx.Err() == nil && !errors.Is(err, os.ErrDeadlineExceeded) && !listen.OwnLack(err) {
					b.markDown(n, err) // a slow node is not a dead one
				}
			})
		}
	}
}

// alive asks a node for a sign of life.
func (n *node) alive(ctx context.Context) error {
	c, err := n.dial(ctx, dialTimeout)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing is left to be said
	return n.greet(ctx, c, dialTimeout)
}

func (b *Balancer) logMoves(list []Rehomed) {
	for _, m := range list {
		b.log.Info("requests moved", "from", m.From, "to", m.To, "requests", m.Requests)
	}
}

// moveLog gathers moves, so that a failover becomes one line per pair of nodes
// and not one per request.
type moveLog struct {
	sums        map[move]uint64
	first, last time.Time // of the moves in sums
}

// A moveLog lets go when there has been nothing new for movesQuiet, or when it
// has gathered for movesAtMost.
const (
	movesQuiet  = time.Second
	movesAtMost = 10 * time.Second
)

func (l *moveLog) tick(now time.Time, fresh []Rehomed) []Rehomed {
	l.add(now, fresh)
	if now.Sub(l.last) < movesQuiet && now.Sub(l.first) < movesAtMost {
		return nil
	}
	return l.flush()
}

func (l *moveLog) flush() []Rehomed {
	list := rehomed(l.sums)
	l.sums = nil
	return list
}

func (l *moveLog) add(now time.Time, fresh []Rehomed) {
	if len(fresh) == 0 {
		return
	}
	if l.last = now; l.sums == nil {
		l.sums, l.first = map[move]uint64{}, now
	}
	for _, m := range fresh {
		l.sums[move{m.From, m.To}] += m.Requests
	}
}
