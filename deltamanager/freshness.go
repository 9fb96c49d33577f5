package deltamanager

import (
	"slices"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate"
)

// Token says that a user has seen a write with this stamp. His browser carries
// it from node to node for TokenLife, one per origin, so that no node shows him
// less than he has seen. A forged token costs one question per member, at a bounded rate.
type Token struct {
	Name  string // of the cookie: the node that wrote, or that with the node that showed it
	Stamp Stamp
}

// TokenLife is how long a token is worth carrying: after that, either every
// member has the write or its origin is out of reach.
const TokenLife = 10 * time.Second

// Tokens are what the response to a request must carry, as cookies of these
// names: for each origin of a write that is in the session and is younger than
// TokenLife, the newest stamp, unless the request came with that or more.
//
// A node names tokens for its own writes after itself, and those for what it
// shows of others' writes after both: so each cookie is only ever set by one
// node, and no answer to a parallel request can set back what another one said.
func (r Ref) Tokens(now time.Duration, seen []Token) []Token {
	c := r.c
	// By the wall clock, not by the hybrid one: that may have been moved far
	// ahead, by another member, since the write.
	old := c.clock.physical(now - TokenLife)
	if mutate.Is(mutate.TokenByAge) {
		old = c.clock.read() - uint64(TokenLife/time.Millisecond)<<16
	}
	b := c.table.of(r.s.key)
	b.mu.Lock()
	var few [4]Stamp
	stamps := few[:0]
	if s := b.session(r.s.key); s != nil {
		for i := range s.regs {
			if st := s.regs[i].stamp; st.Clock > old {
				stamps = newest(stamps, st)
			}
		}
	}
	b.mu.Unlock()
	var out []Token
	for _, s := range stamps {
		if slices.ContainsFunc(seen, func(t Token) bool { return t.Stamp.Boot == s.Boot && t.Stamp.Clock >= s.Clock }) {
			continue
		}
		if s.Boot == c.cfg.Self.Boot {
			out = append(out, Token{c.cfg.Self.Name, s})
		} else if name := c.nameOf(s.Boot); name != "" {
			out = append(out, Token{name + "." + c.cfg.Self.Name, s})
		}
	}
	return out
}

// newest keeps one stamp per boot, the highest.
func newest(stamps []Stamp, s Stamp) []Stamp {
	for i := range stamps {
		if stamps[i].Boot == s.Boot {
			stamps[i].Clock = max(stamps[i].Clock, s.Clock)
			return stamps
		}
	}
	return append(stamps, s)
}

// nameOf is the name of the node that a life was at; empty: not known any more.
func (c *Core) nameOf(boot uint64) string {
	if l := c.linkOf(boot); l != nil {
		return l.id.Name
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.IndexFunc(c.past, func(p pastLife) bool { return p.Boot == boot }); i >= 0 {
		return c.past[i].Name
	}
	return ""
}

// linkOf is the link to the life with this boot, nil if there is none.
func (c *Core) linkOf(boot uint64) *link {
	for _, l := range *c.links.Load() {
		if l.id.Boot == boot {
			return l
		}
	}
	return nil
}

// Covers tells whether all writes of that origin up to the stamp are here.
func (c *Core) Covers(s Stamp) bool {
	if s.Boot == c.cfg.Self.Boot {
		return true
	}
	l := c.linkOf(s.Boot)
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.covered(s.Clock)
}

// covered is Covers for the link's member. Called with l.mu held.
func (l *link) covered(clock uint64) bool {
	return l.theirEpoch != 0 && l.repaired == l.theirEpoch && clock <= l.covers
}

// Query is a question to other members for one session, on its way.
type Query struct {
	mu     sync.Mutex
	open   int // questions not answered
	missed int // not answered, and never will be; or their origin is out of reach
	done   chan struct{}
}

// newQuery holds the query open until all is asked: the first answer may come
// before the last question.
func newQuery() *Query { return &Query{open: 1, done: make(chan struct{})} }

// ask is one question to one member. It is answered by the answer, or by
// frames that bring all the member has written up to clock.
type ask struct {
	request uint64
	query   *Query
	key     Key // zero: unknown, then tag is asked for
	tag     Tag
	clock   uint64 // 0: only the answer counts
}

// owedReply is an answer to make when the link is pulled.
type owedReply struct {
	request uint64
	key     Key
	tag     Tag
}

const (
	maxAsks      = 1024 // per member, both ways: beyond that questions are not asked, and not answered
	frameReplies = 256  // answers in one frame
	askRate      = 1000 // questions a second for sessions that may not exist
	askReserve   = 1000
)

// tokenAhead is how far in the future a token may lie: further than clocks
// differ, and far from what members refuse of each other. Tokens come from
// strangers; none may move the clock so far that others shut this node out.
const tokenAhead = time.Hour

// Fresh asks for what is missing here before a request may see the session:
// the origins of writes that the user has seen and this node does not cover, or,
// if the session is unknown or an origin is out of reach, all members. The answers
// are merged as they come. Nil: nothing is missing. Otherwise wait for Done, as long
// as is reasonable, and Close.
func (c *Core) Fresh(now time.Duration, tag Tag, tokens []Token) *Query {
	c.enter(now)
	if c.cfg.FreshnessWait <= 0 {
		return nil
	}
	var q *Query // made when there is something to ask: most requests miss nothing
	missed := 0
	key, known := c.keyOf(now, tag)
	a := ask{key: key, tag: tag}
	all := !known && (len(tokens) > 0 || c.behind())
	for _, t := range tokens {
		if t.Stamp.Boot == c.cfg.Self.Boot || c.clock.ahead(now, t.Stamp.Clock) > tokenAhead || !c.clock.observe(now, t.Stamp.Clock) {
			continue
		}
		a.clock = t.Stamp.Clock
		if l := c.linkOf(t.Stamp.Boot); l == nil || !c.ask(l, a, &q) {
			missed++
			all = true
		}
	}
	if all && c.mayAsk(now) {
		a.clock = 0
		for _, l := range *c.links.Load() {
			if !c.ask(l, a, &q) {
				missed++ // it may be the one that knows
			}
		}
	}
	if q == nil {
		if missed == 0 {
			return nil
		}
		q = newQuery()
	}
	q.settle(missed, 1)
	if q.answered() {
		return nil
	}
	return q
}

// keyOf finds a session, and tells whether it can be served as it is here: of one
// that seems over, others may know a later use.
func (c *Core) keyOf(now time.Duration, tag Tag) (Key, bool) {
	s := c.table.byTag(tag)
	if s == nil {
		return Key{}, false
	}
	b := c.table.of(s.key)
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := c.serves(now, s, tag)
	return s.key, ok
}

// behind tells whether something is known to be missing of what a member has.
func (c *Core) behind() bool {
	for _, l := range *c.links.Load() {
		l.mu.Lock()
		behind := l.up && l.repaired != l.theirEpoch
		l.mu.Unlock()
		if behind {
			return true
		}
	}
	return false
}

// mayAsk takes one of askRate questions a second.
func (c *Core) mayAsk(now time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.askable = min(c.askable+(now-c.askedAt).Seconds()*askRate, askReserve)
	c.askedAt = now
	if c.askable < 1 {
		return false
	}
	c.askable--
	return true
}

// ask puts the question to a member, unless it is not needed or asked already.
// It reports false when the member can't be asked. The first question makes the query.
func (c *Core) ask(l *link, a ask, q **Query) bool {
	a.query = *q
	l.mu.Lock()
	switch {
	case a.clock != 0 && l.covered(a.clock), a.query != nil && l.askedFor(a):
		l.mu.Unlock()
		return true
	case !l.up || len(l.asks) >= maxAsks:
		l.mu.Unlock()
		return false
	}
	if *q == nil {
		*q = newQuery()
	}
	a.query = *q
	l.asked++
	a.request = l.asked
	l.asks = append(l.asks, a)
	l.unasked++
	a.query.mu.Lock()
	a.query.open++
	a.query.mu.Unlock()
	l.mu.Unlock()
	c.stats.asks.Add(1)
	c.group.Wake(l.id, false, true)
	return true
}

// askedFor tells whether the query has a question to the member already, which
// then has to bring what a asks for, too. Called with l.mu held.
func (l *link) askedFor(a ask) bool {
	i := slices.IndexFunc(l.asks, func(o ask) bool { return o.query == a.query })
	if i < 0 {
		return false
	}
	if old := &l.asks[i].clock; a.clock == 0 || *old == 0 {
		*old = 0
	} else {
		*old = max(*old, a.clock)
	}
	return true
}

// settleAsks ends the questions that are answered: by an answer with that number,
// or by what the member's frames have brought. Called with l.mu held.
func (l *link) settleAsks(request uint64) {
	first := len(l.asks) - l.unasked // those from here on have not been sent
	i := 0
	l.asks = slices.DeleteFunc(l.asks, func(a ask) bool {
		over := a.request == request || a.clock != 0 && l.covered(a.clock)
		if over {
			a.query.settle(0, 1)
			if i >= first {
				l.unasked--
			}
		}
		i++
		return over
	})
}

// missAsks ends all questions: they will not be answered. Called with l.mu held.
func (l *link) missAsks() {
	for _, a := range l.asks {
		a.query.settle(1, 1)
	}
	l.asks, l.unasked, l.replies = nil, 0, nil
}

func (q *Query) settle(missed, answered int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open -= answered
	q.missed += missed
	q.finish()
}

// answered tells whether all questions were.
func (q *Query) answered() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.open == 0 && q.missed == 0
}

// finish closes done when nothing is open. Called with q.mu held.
func (q *Query) finish() {
	if q.open > 0 {
		return
	}
	select {
	case <-q.done:
	default:
		close(q.done)
	}
}

// Done is closed when no answer is awaited any more.
func (q *Query) Done() <-chan struct{} { return q.done }

// Patient tells whether it is worth to wait on: a member that has not answered
// was heard from within two heartbeats, so it is only slow.
func (c *Core) Patient(now time.Duration, q *Query) bool {
	for _, l := range *c.links.Load() {
		l.mu.Lock()
		slow := l.up && now-l.heardAt <= 2*c.cfg.Heartbeat && slices.ContainsFunc(l.asks, func(a ask) bool { return a.query == q })
		l.mu.Unlock()
		if slow {
			return true
		}
	}
	return false
}

// Close gives up what has not been answered. It reports whether something was
// missed: what the node holds may then be older than what the user has seen.
func (c *Core) Close(q *Query) (stale bool) {
	if q == nil {
		return false
	}
	q.mu.Lock()
	stale = q.missed > 0 || q.open > 0
	open := q.open
	q.mu.Unlock()
	if open > 0 {
		for _, l := range *c.links.Load() {
			l.mu.Lock()
			l.dropAsks(q)
			l.mu.Unlock()
		}
	}
	if stale {
		c.stats.stale.Add(1)
	}
	return stale
}

func (l *link) dropAsks(q *Query) {
	first, i := len(l.asks)-l.unasked, 0
	l.asks = slices.DeleteFunc(l.asks, func(a ask) bool {
		if a.query == q && i >= first {
			l.unasked--
		}
		i++
		return a.query == q
	})
}

// appendAsks encodes questions and answers that are due. Called with l.mu held.
func (c *Core) appendAsks(now time.Duration, l *link, body []byte) []byte {
	for _, a := range l.asks[len(l.asks)-l.unasked:] {
		m := askMessage{request: a.request, key: a.key, tag: a.tag}
		body = m.append(body)
	}
	l.unasked = 0
	for n := 0; n < frameReplies && len(l.replies) > 0 && len(body) < frameBytes; n++ {
		body = c.appendReply(now, body, l.replies[0])
		l.replies = l.replies[1:]
	}
	return body
}

func (c *Core) appendReply(now time.Duration, body []byte, o owedReply) []byte {
	k := o.key
	if k == (Key{}) {
		if s := c.table.byTag(o.tag); s != nil {
			k = s.key
		}
	}
	m := replyMessage{request: o.request}
	if k != (Key{}) {
		m.encoded = c.appendWhole(nil, now, k)
	}
	return m.append(body)
}

// questions takes the questions and answers of a frame. It reports whether
// answers are owed.
func (c *Core) questions(now time.Duration, l *link, f *frame, late time.Duration) bool {
	for _, r := range f.replies {
		if r.delta != nil {
			c.applyRaw(now, l, r.delta, late, asked)
		}
		l.mu.Lock()
		l.settleAsks(r.request)
		l.mu.Unlock()
	}
	if len(f.asks) == 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range f.asks {
		if len(l.replies) < maxAsks {
			l.replies = append(l.replies, owedReply(a))
		}
	}
	return true
}
