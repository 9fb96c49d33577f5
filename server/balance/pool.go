package balance

import (
	"context"
	"crypto/tls"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// node is one incarnation of a node, as the pool keeps it.
type node struct {
	Node
	far       bool // of another domain: it has none of the sessions of this one
	dialer    *net.Dialer
	secure    *tls.Config // of connections to it; nil: none
	transport *http.Transport
	gone      context.Context //nolint:containedctx // ends when the Source gives the node up
	end       context.CancelFunc

	inflight int       // guarded by pool.mu, as are Use, Apps and what follows
	down     bool      // a dial failed, no probe has succeeded since
	turn     int       // when it was last chosen: the count of choices
	fresh    time.Time // when it became ready, if it is to start slowly

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
	mu      sync.Mutex
	nodes   []*node // sorted by name
	equals  []*node // scratch of take
	turn    int     // choices made
	born    time.Time
	names   map[string]bool   // ever listed, at most maxNames
	apps    map[string]string // by path, the names of apps that were ever hosted, at most maxApps
	longest int               // of these paths, bytes

	most  int // requests in flight at a node; 0: no limit
	queue []*waiter

	broke     func(*node) // called when a node ends a connection
	dialer    *net.Dialer
	secure    *tls.Config   // of connections to nodes that have it
	domain    string        // whose nodes are preferred
	slowStart time.Duration // of a node that has become ready
}

// maxNames bounds what is remembered of nodes long gone.
const maxNames = 1024

// change is news of a node, for the log.
type change struct {
	Node
	added bool // or removed
}

func newPool(broke func(*node), cfg Config) *pool {
	return &pool{
		names: map[string]bool{}, apps: map[string]string{},
		broke: broke, dialer: cfg.Dialer, secure: cfg.NodesTLS, domain: cfg.Domain, slowStart: cfg.SlowStart, most: cfg.NodeRequests,
	}
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
	if p.born.IsZero() {
		p.born = time.Now()
	}
	for _, n := range list {
		if p.learn(n.Apps); n.Use == 0 {
			continue
		}
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
	for _, n := range next {
		p.admit(n)
	}
	return out, spare
}

// keep returns what is known of this incarnation of the node, up to date. The list is
// believed when it says that a node has become fit for everything again.
func (p *pool) keep(n Node) *node {
	for _, old := range p.nodes {
		if old.Name == n.Name && old.Incarnation == n.Incarnation && old.Address == n.Address {
			if old.Use < Full && n.Use == Full {
				old.down = false
			}
			if old.Use == Spare && n.Use > Spare {
				old.fresh = time.Now()
			}
			old.Use, old.Apps = n.Use, n.Apps
			return old
		}
	}
	fresh := &node{Node: n, dialer: p.dialer, far: n.Domain != p.domain}
	if n.TLS {
		fresh.secure = p.secure
	}
	if now := time.Now(); now.Sub(p.born) > firstLists {
		fresh.fresh = now
	}
	fresh.transport = newTransport(fresh, p.broke)
	fresh.gone, fresh.end = context.WithCancel(context.Background())
	return fresh
}

// firstLists is for how long the nodes that a new balancer hears of are no new ones.
const firstLists = 2 * time.Second

// take chooses a node for a request to the app of this path, of a user whose sessions are at
// one of the routes, and counts the request as in flight there until release. It returns
// nil when all have been tried, and errFull when nodes that serve have as many requests as they
// may: what serves only if need be shall not get what is too much for those.
func (p *pool) take(path string, routes []string, tried []*node) (*node, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	home := p.home(path, routes)
	p.equals = p.equals[:0]
	best, over := math.MinInt, false
	for _, n := range p.nodes {
		if slices.Contains(tried, n) || !n.hosts(path) {
			continue
		}
		if p.full(n) {
			over = over || n.serves()
			continue
		}
		r := n.rank(home)
		if r > best {
			best, p.equals = r, p.equals[:0]
		}
		if r == best {
			p.equals = append(p.equals, n)
		}
	}
	if over && (len(p.equals) == 0 || !p.equals[0].serves()) {
		return nil, errFull
	}
	if len(p.equals) == 0 {
		return nil, nil //nolint:nilnil // there is none
	}
	n := p.choose(p.equals, time.Now())
	p.turn++
	n.turn = p.turn
	n.inflight++
	return n, nil
}

func (p *pool) home(path string, routes []string) *node {
	for _, r := range routes {
		for _, n := range p.nodes {
			if n.Name == r && n.hosts(path) {
				return n
			}
		}
	}
	return nil
}

// choose returns the less busy of two nodes drawn at random, and of equals the one that was
// chosen longer ago. Several balancers that each chose the least busy one of all would all
// choose the same. A node that starts slowly takes part in some of the draws only. It reorders the list.
func (p *pool) choose(list []*node, now time.Time) *node {
	ready := len(list)
	for i := 0; i < ready; {
		if s := list[i].share(now, p.slowStart); s < 1 && rand.Float64() >= s {
			ready--
			list[i], list[ready] = list[ready], list[i]
		} else {
			i++
		}
	}
	if ready > 0 {
		list = list[:ready]
	}
	a := list[0]
	if len(list) > 1 {
		i, j := rand.IntN(len(list)), rand.IntN(len(list)-1)
		if j >= i {
			j++
		}
		a = list[i]
		if b := list[j]; b.inflight < a.inflight || b.inflight == a.inflight && b.turn < a.turn {
			a = b
		}
	}
	return a
}

// leastShare is with how many of the draws a node that has just become ready begins.
const leastShare = 0.1

// share is the part of the draws in which the node takes part.
func (n *node) share(now time.Time, slowStart time.Duration) float64 {
	if n.fresh.IsZero() || slowStart <= 0 {
		return 1
	}
	s := float64(now.Sub(n.fresh)) / float64(slowStart)
	if s >= 1 {
		n.fresh = time.Time{}
	}
	return max(leastShare, s)
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

// worthWaiting is the least worth of nodes that serve new users.
const worthWaiting = 7

func (n *node) worth(home *node) int {
	isHome := n == home
	switch {
	case n.down && isHome:
		return 1
	case n.down:
		return 0
	case n.Use <= Spare && n.doubt.Load() != nil:
		return 2
	case n.Use <= Spare && isHome:
		return 4
	case n.Use <= Spare:
		return 3
	case n.doubt.Load() != nil && isHome:
		return 6
	case n.doubt.Load() != nil:
		return 5
	case isHome:
		return 9
	case n.Use == Full:
		return 8
	}
	return worthWaiting
}

func (p *pool) release(n *node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n.inflight--
	p.admit(n)
}

// set marks the node and tells whether that is news.
func (p *pool) set(n *node, down bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n.down == down {
		return false
	}
	n.down = down
	p.admit(n)
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
