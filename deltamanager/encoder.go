package deltamanager

import (
	"slices"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate"
)

// encoder turns ranges of the log into deltas. Members that are equally far,
// as they nearly always are, share one encoding.
type encoder struct {
	mu     sync.Mutex
	latest batch
	at     map[Key]int // scratch: position in todo
	todo   []pending   // scratch
}

// batch is a range of the log as encoded deltas. It is not changed any more.
type batch struct {
	at          time.Duration
	from, to    uint64
	head        uint64 // of the log, when the batch was begun
	clock       uint64 // all writes up to it lie below head
	deltas      int
	body        []byte
	overwritten bool // from is no longer in the log
}

// pending is what a batch says of one session.
type pending struct {
	change
	single bool // names is the change's own slice, not to be appended to
	said   bool // it is in the batch already
}

// encode returns the deltas from the position on, within the size of a frame.
// to == from means that there are none.
func (e *encoder) encode(c *Core, now time.Duration, from uint64) batch {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.latest.from == from && e.latest.to > from && (now-e.latest.at <= batchLife || mutate.Is(mutate.OldBatch)) {
		return e.latest
	}
	b := batch{at: now, from: from, to: from, clock: c.clock.read()}
	b.head = c.log.head.Load() // after the clock: see changeLog.reserve
	if b.head == from {
		return b
	}
	if e.at == nil {
		e.at = make(map[Key]int)
	}
	clear(e.at)
	e.todo = e.todo[:0]
	if b.overwritten = !e.collect(c, &b); b.overwritten {
		return b
	}
	b.body = make([]byte, 0, min(frameBytes, 128*len(e.todo)))
	for i := range e.todo {
		if len(b.body) >= frameBytes {
			// The rest goes into the next frame. What was encoded of sessions
			// that changed again after this position is sent twice, harmlessly.
			b.to = e.todo[i].pos
			break
		}
		if next, ok := e.successor(c, i); ok {
			b.add(c, now, &e.todo[next])
		}
		b.add(c, now, &e.todo[i])
	}
	e.latest = b
	return b
}

// add encodes what the change says, once.
func (b *batch) add(c *Core, now time.Duration, p *pending) {
	if !p.said {
		p.said = true
		b.body = c.appendChange(b.body, now, &p.change)
		b.deltas++
	}
}

// successor finds what the batch says of the session that goes on in the place of
// one that it says is over. That comes first, since a member that heard only of the end
// would have lost what the session held, if this node died then.
func (e *encoder) successor(c *Core, i int) (int, bool) {
	if e.todo[i].over != invalidated {
		return 0, false
	}
	b := c.table.of(e.todo[i].key)
	b.mu.Lock()
	next := b.tombs[e.todo[i].key].next
	b.mu.Unlock()
	if next == nil {
		return 0, false
	}
	at, ok := e.at[*next]
	return at, ok
}

// batchLife is how long a batch is shared: it says how long ago sessions were
// used, which must be true when it is sent.
const batchLife = 10 * time.Millisecond

// maxBatch bounds the sessions in a frame, beside its size.
const maxBatch = 1024

// collect gathers the changes of the batch by session. False: overwritten.
func (e *encoder) collect(c *Core, b *batch) bool {
	for b.to < b.head && len(e.todo) < maxBatch {
		ch, overwritten := c.log.read(b.to)
		if overwritten {
			return false
		}
		if ch == nil {
			break // reserved, but not published yet
		}
		b.to++
		i, ok := e.at[ch.key]
		if !ok {
			e.at[ch.key] = len(e.todo)
			e.todo = append(e.todo, pending{*ch, true, false})
			continue
		}
		e.todo[i].join(ch)
	}
	return true
}

// join adds a later change of the same session.
func (p *pending) join(ch *change) {
	p.all = p.all || ch.all
	if ch.over != alive {
		p.over, p.last, p.back = ch.over, ch.last, ch.back
	}
	for _, name := range ch.names {
		if slices.Contains(p.names, name) {
			continue
		}
		if p.single {
			p.names, p.single = slices.Clone(p.names), false
		}
		p.names = append(p.names, name)
	}
}

// appendChange encodes what the change says of the session as it is now.
func (c *Core) appendChange(body []byte, now time.Duration, ch *change) []byte {
	b := c.table.of(ch.key)
	b.mu.Lock()
	defer b.mu.Unlock()
	var d delta
	var few [4]register
	switch s := b.session(ch.key); {
	case s != nil && ch.all:
		d = s.full(now)
	case s != nil:
		d = delta{key: ch.key, idle: now - s.firsthand(), age: now - s.created, regs: few[:0], returned: s.tellsReturn()}
		for _, name := range ch.names {
			if i, ok := s.find(name); ok {
				d.regs = append(d.regs, s.regs[i])
			}
		}
	case ch.over == expired && b.tombs[ch.key].until == 0:
		d = delta{key: ch.key, expired: true, idle: now - ch.last, returned: ch.back}
	default:
		var ok bool
		if d, ok = c.deadDelta(now, b, ch.key); !ok {
			return body // expired here meanwhile, and told by its own change
		}
	}
	return appendDelta(body, 10, &d, c.cfg.Self.Boot)
}

// full is everything of the session. Called with its bucket's lock held; the
// delta is to be encoded before that is given up.
func (s *session) full(now time.Duration) delta {
	return delta{key: s.key, regs: s.regs, idle: now - s.last, age: now - s.created, full: !s.partial, returned: s.tellsReturn()}
}

// deadDelta says that the session is over, if there is a tombstone. Called with
// b.mu held.
func (c *Core) deadDelta(now time.Duration, b *bucket, k Key) (delta, bool) {
	t, ok := b.tombs[k]
	if !ok {
		return delta{}, false
	}
	return delta{key: k, dead: true, moved: t.next != nil, age: max(0, c.tombLife()-(t.until-now)), rank: t.rank}, true
}
