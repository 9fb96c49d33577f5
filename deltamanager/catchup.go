package deltamanager

import (
	"slices"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	"github.com/nodeserver/nodeserver/deltamanager/internal/wire"
)

// covered tells whether all the member's own writes up to the stamp are here.
func (l *locked) covered(clock uint64) bool {
	return l.in.Covered(clock)
}

// CatchUp is what one request asks other members: for what its user has seen of the session and
// this node lacks.
type CatchUp struct {
	mu     sync.Mutex
	open   int // questions not answered
	missed int // not answered, and never will be; or their origin is out of reach
	done   chan struct{}
}

// newCatchUp holds the catch-up open until all is asked: the first answer may come
// before the last question.
func newCatchUp() *CatchUp { return &CatchUp{open: 1, done: make(chan struct{})} }

// ask is one question to one member. It is answered by the answer, or by
// frames that bring all the member has written up to clock.
type ask struct {
	request uint64
	catchUp *CatchUp
	key     Key // zero: unknown, then cookie hash is asked for
	cookie  CookieHash
	clock   uint64 // 0: only the answer counts
	state   uint64 // of the copy that is here; 0: none
	since   uint64 // all of the member's own writes up to here are in that copy; 0: can't say
	held    string // what is in that copy, see heldBy; empty: can't say
}

const (
	// Questions for ids that nothing proves, a second and at once.
	askRate   = 1000 // of all users
	askBurst  = 1000
	askEach   = 20 // of one address
	askAtOnce = 40
)

// Asker identifies the client of a request: the same number for the same client, as far as that
// is known. It is only called when a question is to be counted.
type Asker interface{ Asker() uint64 }

// needed is what a user's tokens ask for.
type needed struct {
	stamps      []Stamp // to be asked of their origins
	unreachable int     // origins that can't be asked
	unpaid      int     // tokens that were not asked about, since the budget was spent
	proved      bool    // a member has given a token for this cookie hash
	paid        bool    // out of the budget
}

// askedFor tells whether the catch-up has a question to the member already, which
// then has to bring what a asks for, too.
func (l *locked) askedFor(a ask) bool {
	i := slices.IndexFunc(l.questions.asks, func(o ask) bool { return o.catchUp == a.catchUp })
	if i < 0 {
		return false
	}
	l.questions.asks[i].clock = max(l.questions.asks[i].clock, a.clock) // a question to all is the only one of its catch-up
	return true
}

// settleAsks ends the questions that are answered: by an answer with that number, which
// may be a refusal, or by what the member's frames have brought.
func (l *locked) settleAsks(request uint64, refused bool) {
	first := len(l.questions.asks) - l.questions.unasked // those from here on have not been sent
	i := 0
	l.questions.asks = slices.DeleteFunc(l.questions.asks, func(a ask) bool {
		brought := a.clock != 0 && l.covered(a.clock)
		over := brought || a.request == request
		if over {
			missed := 0
			if refused && !brought {
				missed = 1
			}
			a.catchUp.settle(missed, 1)
			if i >= first {
				l.questions.unasked--
			}
		}
		i++
		return over
	})
}

// missAsks ends all questions: they will not be answered.
func (l *locked) missAsks() {
	for _, a := range l.questions.asks {
		a.catchUp.settle(1, 1)
	}
	l.questions.asks, l.questions.unasked, l.questions.replies, l.questions.large = nil, 0, nil, nil
}

// settle takes note of questions that are answered, or never will be, and ends the catch-up
// with the last one.
func (u *CatchUp) settle(missed, answered int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.open -= answered
	u.missed += missed
	if u.open > 0 {
		return
	}
	select {
	case <-u.done:
	default:
		close(u.done)
	}
}

// add takes note of one more question.
func (u *CatchUp) add() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.open++
}

// answered tells whether all questions were.
func (u *CatchUp) answered() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.open == 0 && u.missed == 0
}

// Done is closed when no answer is awaited any more.
func (u *CatchUp) Done() <-chan struct{} { return u.done }

func (l *locked) dropAsks(u *CatchUp) {
	first, i := len(l.questions.asks)-l.questions.unasked, 0
	l.questions.asks = slices.DeleteFunc(l.questions.asks, func(a ask) bool {
		if a.catchUp == u && i >= first {
			l.questions.unasked--
		}
		i++
		return a.catchUp == u
	})
}

// asker asks members for single sessions.
type asker struct {
	*base
	askers shares // questions for ids that nothing proves, by client

	mu      sync.Mutex // a leaf
	askable budget     // questions for ids that nothing proves, of all
}

// covers tells whether all writes of that origin up to the stamp are here.
func (c *asker) covers(s Stamp) bool {
	if s.Incarnation == c.cfg.Self.Incarnation {
		return true
	}
	from := c.peers.linkOf(s.Incarnation)
	if from == nil {
		return false
	}
	l := from.lock()
	defer l.unlock()
	return l.covered(s.Clock)
}

// catchUp is Core.CatchUp.
func (c *asker) catchUp(now time.Duration, cookie CookieHash, tokens []Token, from Asker) *CatchUp {
	if c.cfg.FreshnessWait <= 0 {
		return nil
	}
	here := c.table.Holds(now, cookie)
	var few [4]Stamp
	n := needed{stamps: few[:0]}
	c.needs(now, cookie, tokens, from, here.Whole, &n)
	all := n.unreachable > 0 || !here.Whole && (n.proved || c.peers.behind() && c.mayAsk(now, from))
	var u *CatchUp // made when there is something to ask: most requests miss nothing
	missed := n.unreachable + n.unpaid
	a := ask{key: here.Key, cookie: cookie, state: here.State}
	if all {
		if here.Whole {
			a.held = c.table.HeldBy(here.Key)
		}
		for _, l := range c.peers.all() {
			if !c.ask(l, a, here.Whole, &u) {
				missed++ // it may be the one that knows
			}
		}
	} else {
		for _, s := range n.stamps {
			a.clock = s.Clock
			if l := c.peers.linkOf(s.Incarnation); l == nil || !c.ask(l, a, here.Whole, &u) {
				missed++
			}
		}
	}
	if u == nil {
		if missed == 0 {
			return nil
		}
		u = newCatchUp()
	}
	u.settle(missed, 1)
	if u.answered() {
		return nil
	}
	return u
}

// needs looks at the tokens. Those of a session that is here whole are only checked if
// what they name is not: users who stay cost nothing.
func (c *asker) needs(now time.Duration, cookie CookieHash, tokens []Token, from Asker, whole bool, n *needed) {
	for i := range tokens {
		t := &tokens[i]
		covered := c.covers(t.Stamp)
		if whole && covered {
			continue
		}
		if !c.keys.Proves(cookie, t) {
			c.stats.asks.tokensRefused.Add(1)
			continue
		}
		if old := c.clock.Ahead(now, t.Stamp.Clock) < -TokenLife-table.ClockSlack; old && !n.paid {
			if n.paid = c.mayAsk(now, from); !n.paid {
				n.unpaid++
				continue
			}
		}
		n.proved = true
		if covered {
			continue
		}
		c.clock.Follow(now, t.Stamp.Clock)
		if c.peers.reaches(t.Stamp.Incarnation) {
			n.stamps = append(n.stamps, t.Stamp)
		} else {
			n.unreachable++
		}
	}
}

// mayAsk takes one of the questions that an asker has, and of all.
func (c *asker) mayAsk(now time.Duration, from Asker) bool {
	who := uint64(0)
	if from != nil {
		who = from.Asker()
	}
	if !c.askers.take(now, who, 1, askEach, askAtOnce) {
		c.stats.asks.refused.Add(1)
		return false
	}
	c.mu.Lock()
	ok := c.askable.take(now, 1, askRate, askBurst)
	c.mu.Unlock()
	if !ok {
		c.stats.asks.refused.Add(1)
	}
	return ok
}

// ask puts the question to a member, unless it is not needed or asked already.
// It reports false when the member can't be asked. The first question makes the catch-up.
// Of a session that is here whole, the member need only say what is new.
func (c *asker) ask(to *link, a ask, whole bool, u **CatchUp) bool {
	a.catchUp = *u
	l := to.lock()
	switch {
	case a.clock != 0 && l.covered(a.clock), a.catchUp != nil && l.askedFor(a):
		l.unlock()
		return true
	case !l.up || len(l.questions.asks) >= wire.MaxAsks:
		l.unlock()
		return false
	}
	if whole && a.clock != 0 && l.covered(0) {
		a.since = l.in.Watermark()
	}
	if *u == nil {
		*u = newCatchUp()
	}
	a.catchUp = *u
	l.requests++
	a.request = l.requests
	l.questions.asks = append(l.questions.asks, a)
	l.questions.unasked++
	a.catchUp.add()
	l.unlock()
	c.stats.asks.asked.Add(1)
	c.group.Wake(l.id, false, true)
	return true
}

// worthWaiting tells whether a request should wait on: a member that has not answered
// was heard from within two heartbeats, so it is only slow.
func (c *asker) worthWaiting(now time.Duration, u *CatchUp) bool {
	for _, to := range c.peers.all() {
		l := to.lock()
		slow := l.up && now-l.in.heardAt <= 2*c.cfg.Heartbeat &&
			slices.ContainsFunc(l.questions.asks, func(a ask) bool { return a.catchUp == u })
		l.unlock()
		if slow {
			return true
		}
	}
	return false
}

// close gives up what has not been answered. It reports whether something was
// missed: what the node holds may then be older than what the user has seen.
func (c *asker) close(u *CatchUp) (stale bool) {
	if u == nil {
		return false
	}
	u.mu.Lock()
	stale = u.missed > 0 || u.open > 0
	open := u.open
	u.mu.Unlock()
	if open > 0 {
		for _, to := range c.peers.all() {
			l := to.lock()
			l.dropAsks(u)
			l.unlock()
		}
	}
	if stale {
		c.stats.asks.stale.Add(1)
	}
	return stale
}

// CatchUp asks for what is missing here before a request may see the session:
// the origins of writes that the user has seen and this node does not cover, or,
// if the session is unknown or an origin is out of reach, all members. The answers
// are merged as they come. Nil: nothing is missing. Otherwise wait for Done, as long
// as is reasonable, and Close.
//
// Only tokens that a member made for this very cookie hash count. A budget for each asker (nil: one
// for those) and one for all bound two kinds of questions: by tokens that seem too old, since
// clocks may differ, but a client may keep tokens to use them again and again; and for ids that
// no token proves, which are asked of all only while something is known to be missing here.
func (c *Core) CatchUp(now time.Duration, cookie CookieHash, tokens []Token, from Asker) *CatchUp {
	c.enter(now)
	return c.asker.catchUp(now, cookie, tokens, from)
}

// WorthWaiting tells whether a request should wait on: a member that has not answered
// was heard from within two heartbeats, so it is only slow.
func (c *Core) WorthWaiting(now time.Duration, u *CatchUp) bool { return c.asker.worthWaiting(now, u) }

// Close gives up what has not been answered. It reports whether something was
// missed: what the node holds may then be older than what the user has seen.
func (c *Core) Close(u *CatchUp) (stale bool) { return c.asker.close(u) }
