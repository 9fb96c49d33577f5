package deltamanager

import (
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	"github.com/nodeserver/nodeserver/deltamanager/internal/token"
	"github.com/nodeserver/nodeserver/membership"
)

// Group is how the core asks to be pulled: it says that it has something to
// send, and the owner of the streams calls Pull when they can take it. Wake must
// not block and not call back before it has returned.
type Group interface {
	Wake(to membership.ID, bulk, urgent bool)
}

// Core is the replication state machine of one webapp at one node. It does no
// I/O, starts no goroutine and reads no clock: now is the time since the node's
// start on a monotonic clock, never decreasing over the calls. The same calls
// in the same order have the same effects, byte for byte.
//
// All methods are safe for concurrent use. A commit locks the session's bucket
// and nothing else; what concerns a member lies behind that member's lock.
// Locks are taken in the order peers.mu or fence.mu, link.mu, encoder.mu, then those of the
// table; all others are leaves.
//
// A Core is made of parts, each with what it needs:
//
//	fence      may the node serve?
//	peers      the links to members
//	sender     makes frames, and repeats uses that a member has missed
//	receiver   takes frames
//	applier    merges deltas, and does what follows from them
//	repairer   compares sessions with members and exchanges what differs
//	asker      asks members for what a user has seen
//	answerer   answers such questions
//	expirer    ends sessions at their time, or for want of room
//	listeners  hear what happens to sessions
type Core struct {
	*base
	sender   sender
	receiver receiver
	applier  applier
	repairer repairer
	asker    asker
	answerer answerer
	expirer  expirer
}

// base is what all parts of a core work on.
type base struct {
	cfg       Config
	group     Group
	clock     table.Clock
	table     *table.Table
	log       *changeLog
	names     table.Names
	keys      token.Ring
	fence     fence
	peers     peers
	touches   touches
	listeners listeners
	stats     counters
}

// NewCore makes a core that is not ready. It keeps cfg and group.
func NewCore(cfg Config, group Group) *Core {
	if cfg.ResendAfter == 0 {
		cfg.ResendAfter = 2 * time.Second
	}
	b := &base{cfg: cfg, group: group, log: newChangeLog(cfg.ChangeLogEntries)}
	b.touches.next = Buckets
	b.clock.Start(cfg.Wall)
	b.keys.Init(cfg.TokenKeys, cfg.Rand, b.clock.Read())
	b.table = table.New(cfg.Seed, cfg.Limits)
	p := &b.peers
	p.self, p.group, p.log, p.fence, p.granule = cfg.Self, group, b.log, &b.fence, table.Granule(cfg.Limits.MaxInactive)
	p.links.Store(&[]*link{})
	b.listeners.table, b.listeners.report = b.table, cfg.Observe
	b.listeners.set(true)
	c := &Core{base: b}
	c.applier.base = b
	c.expirer.base = b
	c.answerer.base, c.answerer.applier = b, &c.applier
	c.asker.base = b
	c.repairer.base, c.repairer.applier, c.repairer.answerer = b, &c.applier, &c.answerer
	c.sender.base, c.sender.answerer = b, &c.answerer
	c.receiver.base, c.receiver.applier, c.receiver.repairer, c.receiver.answerer = b, &c.applier, &c.repairer, &c.answerer
	return c
}

// linkLife is how long a link is kept to a member that is neither connected nor heard.
const linkLife = time.Minute

// forgetSilent drops the link to a member that was heard and never connected:
// the channel does not tell when such a member is gone.
func (c *Core) forgetSilent(now time.Duration, to *link) {
	l := to.lock()
	silent := !l.up && now-l.seenAt > linkLife
	l.unlock()
	if silent {
		c.Gone(now, l.id)
	}
}

// Connected says that payloads can be sent to the member, and that what was
// sent before may have been lost.
func (c *Core) Connected(now time.Duration, id membership.ID) {
	c.enter(now)
	l := c.peers.ensureLink(now, id).lock()
	l.connected(now)
	l.unlock()
	c.group.Wake(id, false, true)
	c.group.Wake(id, true, true) // what was to be asked when the connection was lost
}

// Disconnected says that nothing can be sent to the member for now.
func (c *Core) Disconnected(now time.Duration, id membership.ID) {
	c.enter(now)
	if to := c.peers.link(id); to != nil {
		c.repairer.assignment.release(id)
		l := to.lock()
		l.up, l.repair.run = false, nil
		l.missAsks()
		l.unlock()
	}
}

// Gone says that this incarnation of the member has ended; its link is forgotten.
func (c *Core) Gone(now time.Duration, id membership.ID) {
	c.enter(now)
	to := c.peers.link(id)
	if to == nil {
		past, _ := c.peers.recall(now, id)
		c.peers.remember(past) // what it sent before its end may still come
		return
	}
	c.repairer.assignment.release(id)
	l := to.lock()
	past := pastIncarnation{id, l.out.clean, l.in.lag}
	l.unlock()
	c.peers.drop(to)
	c.peers.remember(past)
	l = to.lock()
	defer l.unlock()
	l.up, l.gone = false, true
	l.loseWaiters()
	l.missAsks()
}

// Open finds the session of a cookie and notes that it is used now. The info is
// as it was before. It reports false for cookie hashes unknown here.
func (c *Core) Open(now time.Duration, cookie CookieHash) (Ref, Info, bool) {
	c.enter(now)
	s := c.table.ByCookie(cookie)
	if s == nil {
		return Ref{}, Info{}, false
	}
	b := c.table.Lock(s.Key)
	a, ok := b.Serves(now, s, cookie)
	if !ok {
		b.Unlock()
		return Ref{}, Info{}, false
	}
	info := s.Info(a)
	s.Touch(now)
	back := b.ComeBack(s)
	if back { // announced at once: others would soon take it for over
		s.Announce(now)
		c.log.publish(&change{pos: c.log.reserve(), key: s.Key})
	}
	b.Unlock()
	if back {
		c.peers.wakeAll(false)
	}
	return Ref{c, s, c.fence.pauses.Load()}, info, true
}

// Pull returns the next payload for the member, nil if there is none.
func (c *Core) Pull(now time.Duration, to membership.ID, bulk bool) []byte {
	c.enter(now)
	l := c.peers.link(to)
	switch {
	case l == nil:
		return nil
	case bulk:
		return c.repairer.pullBulk(now, l)
	}
	return c.sender.pullLive(now, l)
}

// Receive applies one payload of the member. An error says what is wrong with
// the payload; whatever of it could be used was.
func (c *Core) Receive(now time.Duration, from membership.ID, bulk bool, payload []byte) error {
	c.enter(now)
	l := c.peers.link(from)
	if l == nil {
		if c.peers.isPast(from) {
			return nil // late; a link to it would wait for its end for ever
		}
		l = c.peers.ensureLink(now, from)
	}
	var err error
	if bulk {
		err = c.repairer.receiveBulk(now, l, payload)
	} else {
		err = c.receiver.receiveLive(now, l, payload)
	}
	if !c.fence.ready.Load() { // members that wait for this node need not wait for its next Tick
		c.repairer.stepRepair(now, l)
		c.checkReady(now)
	}
	return err
}

// Tick lets time pass: heartbeats, acknowledgements that are due, frames to
// send again, repairs, expiry, readiness. Call it about every 50 ms.
func (c *Core) Tick(now time.Duration) {
	c.enter(now)
	c.fence.tickedAt.Store(int64(max(now, 1)))
	c.noteAge(now)
	for _, l := range c.peers.all() {
		if c.sender.tickLink(now, l) {
			c.group.Wake(l.id, false, false)
		}
		if c.answerer.owesLarge(now, l) {
			c.group.Wake(l.id, true, true)
		}
		c.repairer.stepRepair(now, l)
		c.forgetSilent(now, l)
	}
	c.sender.retouch()
	c.expirer.sweep(now)
	c.table.ForgetTombs()
	c.checkReady(now)
}

// noteAge remembers how far the log is now, for those members that have not applied all of it.
func (c *Core) noteAge(now time.Duration) {
	head := c.log.head.Load()
	applied := head
	for _, to := range c.peers.all() {
		l := to.lock()
		applied = min(applied, l.out.Acked())
		l.unlock()
	}
	c.log.ages.note(now, head, applied)
}
