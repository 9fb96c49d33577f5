package balance

import (
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// node is one life of a node, as the pool keeps it.
type node struct {
	Node
	far       bool // of another domain: it has none of the sessions of this one
	dialer    *net.Dialer
	transport *http.Transport
	gone      context.Context //nolint:containedctx // ends when the Source gives the node up
	end       context.CancelFunc

	inflight int  // guarded by pool.mu, as is down
	down     bool // a dial failed, no probe has succeeded since

	doubt   atomic.Pointer[chan struct{}] // closed when it is over; nil: none
	trusted atomic.Int64                  // until then (ns since 1970) connections may break off without doubt
}

// verdict waits until the node is not in doubt.
func (n *node) verdict(ctx context.Context) {
	if over := n.doubt.Load(); over != nil {
		select {
		case <-*over:
		case <-ctx.Done():
		case <-n.gone.Done():
		}
	}
}

// pool holds the nodes and chooses among them. Safe for concurrent use.
type pool struct {
	mu    sync.Mutex
	nodes []*node         // sorted by name
	turn  int             // where the search among equals begins
	names map[string]bool // ever listed, at most maxNames
	broke func(*node)     // told when a node ends a connection

	dialer *net.Dialer
	domain string // whose nodes are preferred
}

// maxNames bounds what is remembered of nodes long gone.
const maxNames = 1024

// change is news of a node, for the log.
type change struct {
	Node
	added bool // or removed
}

func newPool(broke func(*node), cfg Config) *pool {
	return &pool{turn: rand.IntN(1 << 16), names: map[string]bool{}, broke: broke, dialer: cfg.Dialer, domain: cfg.Domain}
}

// update takes a new list over. Nodes that are not in it any more are given up. Idle
// connections to those that are about to stop are closed from here: closed by the node,
// they could take a request with them.
func (p *pool) update(list []Node) (news []change) {
	out, spare := p.replace(list, &news)
	for _, n := range out {
		n.end()
	}
	for _, n := range append(out, spare...) {
		n.transport.CloseIdleConnections()
	}
	return news
}

// replace returns the nodes that are to be given up, and those of no more than Spare use.
func (p *pool) replace(list []Node, news *[]change) (out, spare []*node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var next []*node
	for _, n := range list {
		k := p.keep(n)
		next = append(next, k)
		if k.Use <= Spare {
			spare = append(spare, k)
		}
		if !slices.Contains(p.nodes, k) {
			*news = append(*news, change{n, true})
		}
		if len(p.names) < maxNames {
			p.names[n.Name] = true
		}
	}
	slices.SortFunc(next, func(a, b *node) int { return strings.Compare(a.Name, b.Name) })
	for _, old := range p.nodes {
		if !slices.Contains(next, old) {
			out = append(out, old)
			*news = append(*news, change{old.Node, false})
		}
	}
	p.nodes = next
	return out, spare
}

// keep returns what is known of this life of the node, up to date. The list is
// believed when it says that a node has become fit for everything again.
func (p *pool) keep(n Node) *node {
	for _, old := range p.nodes {
		if old.Name == n.Name && old.Incarnation == n.Incarnation && old.Address == n.Address {
			if old.Use < Full && n.Use == Full {
				old.down = false
			}
			old.Use = n.Use
			return old
		}
	}
	fresh := &node{Node: n, dialer: p.dialer, far: n.Domain != p.domain}
	fresh.transport = newTransport(fresh, p.broke)
	fresh.gone, fresh.end = context.WithCancel(context.Background())
	return fresh
}

// take chooses a node for a request of a user whose sessions are at one of the
// routes, and counts the request as in flight there until release. It returns
// nil when all have been tried.
func (p *pool) take(routes []string, tried []*node) *node {
	p.mu.Lock()
	defer p.mu.Unlock()
	home := p.home(routes)
	var best *node
	p.turn++
	for i := range p.nodes {
		n := p.nodes[(p.turn+i)%len(p.nodes)]
		if !slices.Contains(tried, n) && better(n, best, home) {
			best = n
		}
	}
	if best != nil {
		best.inflight++
	}
	return best
}

func (p *pool) home(routes []string) *node {
	for _, r := range routes {
		for _, n := range p.nodes {
			if n.Name == r {
				return n
			}
		}
	}
	return nil
}

func better(n, than, home *node) bool {
	if than == nil {
		return true
	}
	a, b := n.rank(home), than.rank(home)
	return a > b || a == b && n.inflight < than.inflight
}

// rank orders nodes for one request, as the package doc tells. Those of another
// domain come after all nodes that may serve, and before those that don't.
func (n *node) rank(home *node) int {
	const far = 10
	switch r := n.worth(home); {
	case !n.far:
		return far * r
	case n.down || n.doubt.Load() != nil:
		return r - far
	default:
		return far + r
	}
}

func (n *node) worth(home *node) int {
	isHome := n == home
	switch {
	case n.down && isHome:
		return 1
	case n.down:
		return 0
	case n.doubt.Load() != nil && isHome:
		return 3
	case n.doubt.Load() != nil:
		return 2
	case isHome && n.Use >= Keep:
		return 8
	case n.Use == Full:
		return 7
	case n.Use == Keep:
		return 6
	case isHome:
		return 5
	}
	return 4
}

func (p *pool) release(n *node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n.inflight--
}

// set marks the node and tells whether that is news.
func (p *pool) set(n *node, down bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n.down == down {
		return false
	}
	n.down = down
	return true
}

// known tells whether this has ever been the name of a node.
func (p *pool) known(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.names[name]
}

// uses counts nodes by the word for what they are used for.
func (p *pool) uses() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := map[string]int{"full": 0, "keep": 0, "spare": 0, "doubt": 0, "down": 0}
	for _, n := range p.nodes {
		switch {
		case n.down:
			m["down"]++
		case n.doubt.Load() != nil:
			m["doubt"]++
		default:
			m[n.Use.String()]++
		}
	}
	return m
}

func (p *pool) isDown() (list []*node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.nodes {
		if n.down {
			list = append(list, n)
		}
	}
	return list
}
