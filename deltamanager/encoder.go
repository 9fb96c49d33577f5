package deltamanager

import (
	"slices"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	"github.com/nodeserver/nodeserver/deltamanager/internal/wire"
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
func (e *encoder) encode(c *base, now time.Duration, from uint64) batch {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.latest.from == from && e.latest.to > from && now-e.latest.at <= batchLife {
		return e.latest
	}
	b := batch{at: now, from: from, to: from, clock: c.clock.Read()}
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
func (b *batch) add(c *base, now time.Duration, p *pending) {
	if !p.said {
		p.said = true
		b.body = appendChange(c, b.body, now, &p.change)
		b.deltas++
	}
}

// successor finds what the batch says of the session that goes on in the place of
// one that it says is over. That comes first, since a member that heard only of the end
// would have lost what the session held, if this node died then.
func (e *encoder) successor(c *base, i int) (int, bool) {
	if e.todo[i].over != table.Invalidated {
		return 0, false
	}
	next := c.table.Successor(e.todo[i].key)
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
func (e *encoder) collect(c *base, b *batch) bool {
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
	if ch.over != table.Alive {
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
func appendChange(c *base, body []byte, now time.Duration, ch *change) []byte {
	var few [4]table.Register
	b := c.table.Lock(ch.key)
	d, first, ok := deltaOf(b, now, ch, few[:0])
	if ok && first == nil {
		body = wire.AppendDelta(body, wire.InFrame, &d, c.cfg.Self.Incarnation)
	}
	b.Unlock()
	if first == nil {
		return body
	}
	body = c.appendWhole(body, wire.InFrame, now, *first)
	return wire.AppendDelta(body, wire.InFrame, &d, c.cfg.Self.Incarnation)
}

// deltaOf is what the change says of the session, which may be in the locked bucket b;
// not ok: nothing. First is the session that is to be sent before: one goes on in the
// place of a session that was moved after this change was collected, or elsewhere, so that
// encoder.successor could not see to it. Then d holds nothing of the table.
func deltaOf(b table.Bucket, now time.Duration, ch *change, few []table.Register) (d table.Delta, first *Key, ok bool) {
	switch s := b.Session(ch.key); {
	case s != nil && ch.all:
		return s.Full(now), nil, true
	case s != nil:
		d = table.Delta{Key: ch.key, Idle: now - s.Firsthand(), Age: now - s.Created, Regs: few, Returned: s.AnnouncesReturn()}
		for _, name := range ch.names {
			if i, ok := s.Find(name); ok {
				d.Regs = append(d.Regs, s.Regs[i])
			}
		}
		return d, nil, true
	case ch.over == table.Expired && !b.Buried(ch.key):
		return table.Delta{Key: ch.key, Expired: true, Idle: now - ch.last, Returned: ch.back}, nil, true
	}
	d, ok = b.DeadDelta(now, ch.key) // not ok: it expired here meanwhile, and its own change tells that
	if ok && ch.over == table.Alive {
		first = b.Successor(ch.key)
	}
	return d, first, ok
}
