package deltamanager

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate"
	"github.com/nodeserver/nodeserver/membership"
)

// Group is how the core asks to be pulled: it says that it has something to
// send, and whoever owns the streams calls Pull when they can take it. Wake must
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
// Locks are taken in the order Core.mu, link.mu, encoder.mu, newcomers.mu, bucket.mu, tagShard.mu; deal.mu,
// shares.mu, graves.mu and names.mu are leaves.
type Core struct {
	cfg     Config
	group   Group
	clock   clock
	table   table
	log     *changeLog
	enc     encoder
	stats   counters
	deal    deal
	touches touches
	names   names
	keys    keyring

	askers   shares // questions for ids that nothing proves, by who asks
	answered shares // bytes of answers, by session

	beatAt    atomic.Int64 // last Tick, for the pause fence; 0: none yet
	ready     atomic.Bool
	observing atomic.Bool
	links     atomic.Pointer[[]*link] // sorted by id; replaced, never changed

	mu         sync.Mutex // guards what follows, and replacing links
	settled    bool       // discovery has had its chance: no links means alone
	joinedAt   time.Duration
	pausedFrom time.Duration // when the latest pause began; it ended at joinedAt
	sweepAt    int           // next bucket to look through for what expired
	sweptAt    time.Duration
	past       []pastLife // ended, the latest maxPast
	askable    budget     // questions for ids that nothing proves
}

// pastLife is a life that has ended, or was believed to have.
type pastLife struct {
	membership.ID
	clean time.Duration // when it had applied all changes
	lag   lag
}

// maxPast is how many ended lives are remembered.
const maxPast = 256

// NewCore makes a core that is not ready. It keeps cfg and group.
func NewCore(cfg Config, group Group) *Core {
	if cfg.ResendAfter == 0 {
		cfg.ResendAfter = 2 * time.Second
	}
	c := &Core{cfg: cfg, group: group, log: newChangeLog(cfg.QueueEntries)}
	c.touches.next = Buckets
	c.clock.wall = uint64(cfg.Wall.UnixMilli())
	c.clock.last.Store(c.clock.physical(0))
	c.keys.init(&cfg, c.clock.read())
	c.SetObserving(true)
	c.table.seed = cfg.Seed
	c.table.maxTombs = maxTombstones
	if cfg.MaxTombstones > 0 {
		c.table.maxTombs = cfg.MaxTombstones
	}
	c.links.Store(&[]*link{})
	return c
}

// link returns the link to a member's life, nil if there is none.
func (c *Core) link(id membership.ID) *link {
	links := *c.links.Load()
	if i, ok := slices.BinarySearchFunc(links, id, func(l *link, id membership.ID) int { return compareIDs(l.id, id) }); ok {
		return links[i]
	}
	return nil
}

func compareIDs(a, b membership.ID) int {
	if c := strings.Compare(a.Name, b.Name); c != 0 {
		return c
	}
	switch {
	case a.Boot < b.Boot:
		return -1
	case a.Boot > b.Boot:
		return 1
	}
	return 0
}

// ensureLink returns the link to a member's life, making it if need be.
func (c *Core) ensureLink(now time.Duration, id membership.ID) *link {
	if l := c.link(id); l != nil {
		return l
	}
	past, known := c.recall(now, id)
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.link(id); l != nil {
		return l
	}
	l := newLink(now, id, c.stats.epochs.Add(1), c.stats.seqs.Load(), c.log.head.Load())
	l.clean, l.untold, l.strange, l.lag = past.clean, true, !known, past.lag
	links := append(slices.Clone(*c.links.Load()), l)
	slices.SortFunc(links, func(a, b *link) int { return compareIDs(a.id, b.id) })
	c.links.Store(&links)
	return l
}

// recall takes what is remembered of a life that gets a new link. A life that
// is new here may learn of others' sessions from somebody who is a little behind.
func (c *Core) recall(now time.Duration, id membership.ID) (past pastLife, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.past, func(p pastLife) bool { return p.ID == id })
	if i < 0 {
		return pastLife{id, c.toldAll(now), lag{}}, false
	}
	p := c.past[i]
	c.past = slices.Delete(c.past, i, i+1)
	return p, true
}

// toldAll is up to when the other members surely have all that was told here.
// Called with c.mu held.
func (c *Core) toldAll(now time.Duration) time.Duration {
	const lag = 10 * time.Second // a member that is behind for longer is gone
	since := now - lag
	if c.pausedFrom > 0 && now-c.joinedAt < time.Minute {
		since = min(since, c.pausedFrom)
	}
	return since - granule(c.cfg.MaxInactive)
}

// enter is called first by every entry point. After a pause of the whole
// process, anything may run first: whoever does finds out, and the node stops
// being ready until it has repaired.
func (c *Core) enter(now time.Duration) {
	last := c.beatAt.Load()
	if last == 0 || now-time.Duration(last) <= pauseFence || mutate.Is(mutate.NoPauseFence) || !c.beatAt.CompareAndSwap(last, int64(now)) {
		return
	}
	c.stats.pauses.Add(1)
	c.mu.Lock()
	c.pausedFrom = time.Duration(last)
	c.mu.Unlock()
	c.rejoin(now)
}

// rejoin makes the node not ready until it has repaired with every member.
func (c *Core) rejoin(now time.Duration) {
	c.mu.Lock()
	c.ready.Store(false)
	c.joinedAt = now
	c.mu.Unlock()
	c.deal.reset()
	for _, l := range *c.links.Load() {
		l.mu.Lock()
		l.repaired, l.repair, l.behindAt = 0, nil, now
		l.distrust = true
		l.mu.Unlock()
	}
}

// Write is one register that a request wrote; a nil value removes it.
type Write struct {
	Name  string
	Value []byte
}

// Tx is what one request wrote to one session. It is committed under one stamp
// and travels as one delta, so it appears at once everywhere.
type Tx struct {
	Writes []Write
	// MaxInactive, if not nil, is how long the session lives unused from now on; zero
	// or less: no limit.
	MaxInactive *time.Duration
	// Principal is the user's name; of a new session only.
	Principal string
	// Returned says of a new session that it need not wait for its cookie to come back.
	Returned bool
	// Invalidate ends the session; the rest is then ignored.
	Invalidate bool
}

// Receipt is where a commit stands in the log, for those who wait until it has
// been applied elsewhere.
type Receipt struct {
	Stamp Stamp
	pos   uint64
	wrote bool
	final bool // see Result
}

// Create makes a session that is found by the tag. The key is drawn from cfg.Rand.
func (c *Core) Create(now time.Duration, tag Tag, tx Tx) (Ref, Receipt, error) {
	var k Key
	if _, err := c.cfg.Rand.Read(k[:]); err != nil {
		return Ref{}, Receipt{}, err
	}
	return c.CreateKey(now, k, tag, tx)
}

// CreateKey is Create with a key that was drawn before, and never used.
func (c *Core) CreateKey(now time.Duration, k Key, tag Tag, tx Tx) (Ref, Receipt, error) {
	c.enter(now)
	if !c.makeRoom() {
		return Ref{}, Receipt{}, ErrFull
	}
	s := &session{key: k, created: now, last: now, served: now, told: now, heard: never, limit: limitOf(c.cfg.MaxInactive)}
	b := c.table.of(s.key)
	b.mu.Lock()
	pos := c.log.reserve()
	stamp := Stamp{c.clock.tick(now), c.cfg.Self.Boot}
	var few [4]register
	regs := append(few[:0], register{nil, stamp, Auth{Tag: tag, Principal: tx.Principal}.encode()})
	regs = c.appendWrites(regs, tx, stamp)
	s.returned = tx.Returned || tx.Principal != ""
	c.table.add(b, s)
	changed := c.table.merge(b, s, regs, c.cfg.MaxInactive, nil)
	c.log.publish(&change{pos: pos, key: s.key, all: true})
	events := c.events(s, Created, false, changed)
	newcomer := !s.returned
	b.mu.Unlock()
	if newcomer {
		c.arrive(k)
	}
	c.observe(events)
	c.stats.created.Add(1)
	c.wakeAll(false)
	return Ref{c, s, c.stats.pauses.Load()}, Receipt{Stamp: stamp, pos: pos, wrote: true}, nil
}

// appendWrites adds what the request wrote.
func (c *Core) appendWrites(regs []register, tx Tx, stamp Stamp) []register {
	if tx.MaxInactive != nil {
		regs = append(regs, register{c.names.of([]byte(inactiveName)), stamp, encodeInactive(*tx.MaxInactive)})
	}
	for _, w := range tx.Writes {
		regs = append(regs, register{c.names.of([]byte(w.Name)), stamp, w.Value})
	}
	return regs
}

// Commit applies what a request wrote. It fails with ErrGone when the session
// has ended meanwhile, with ErrMoved when another one goes on in its place, wherever
// that was, and with ErrNotReady when the node was paused since the request began: what
// it read may have been old.
func (c *Core) Commit(now time.Duration, r Ref, tx Tx) (Receipt, error) {
	c.enter(now)
	if r.pauses != c.stats.pauses.Load() {
		return Receipt{}, ErrNotReady
	}
	b := c.table.of(r.s.key)
	b.mu.Lock()
	s, err := r.here(b)
	if err != nil {
		b.mu.Unlock()
		return Receipt{}, err
	}
	if tx.Invalidate {
		events := c.ended(Invalidated, b.session(s.key), false)
		receipt := c.invalidate(now, b, s.key)
		b.mu.Unlock()
		c.observe(events)
		c.wakeAll(true)
		c.overtake(s.key)
		return receipt, nil
	}
	s.touch(now)
	if len(tx.Writes) == 0 && tx.MaxInactive == nil {
		due := !mutate.Is(mutate.NoTouch) && now-s.told >= granule(s.maxInactive())/2 && s.limit > 0
		if due {
			s.told = now
			c.log.publish(&change{pos: c.log.reserve(), key: s.key})
		}
		b.mu.Unlock()
		if due {
			c.wakeAll(false)
		}
		return Receipt{}, nil
	}
	if err := c.checkSize(s, tx.Writes); err != nil {
		b.mu.Unlock()
		return Receipt{}, err
	}
	receipt, events := c.write(now, b, s, tx)
	b.mu.Unlock()
	c.observe(events)
	c.wakeAll(false)
	return receipt, nil
}

// write merges and logs the writes. Called with b.mu held.
func (c *Core) write(now time.Duration, b *bucket, s *session, tx Tx) (Receipt, []Event) {
	pos := c.log.reserve()
	stamp := Stamp{c.clock.tick(now), c.cfg.Self.Boot}
	var few [4]register
	regs := c.appendWrites(few[:0], tx, stamp)
	ch := &written{change: change{pos: pos, key: s.key}}
	ch.names = c.table.merge(b, s, regs, c.cfg.MaxInactive, ch.name[:0]) // all of them: the stamp is the newest
	s.told = now
	c.log.publish(&ch.change)
	c.stats.commits.Add(1)
	return Receipt{Stamp: stamp, pos: pos, wrote: true}, c.events(s, AttributeChanged, false, ch.names)
}

// invalidate buries the session and logs it. Called with b.mu held.
func (c *Core) invalidate(now time.Duration, b *bucket, k Key) Receipt {
	until, age := now+c.tombLife(), time.Duration(0)
	if s := b.session(k); s != nil {
		age = now - s.created
		until = c.remembered(now, s.created)
	}
	pos := c.log.reserve()
	stamp := Stamp{c.clock.tick(now), c.cfg.Self.Boot}
	if s := b.session(k); s != nil && mutate.Is(mutate.NoTombstone) {
		c.table.remove(b, s)
	} else {
		c.table.bury(b, k, tomb{until: until, rank: rankOf(stamp.Clock, age)})
	}
	c.log.publish(&change{pos: pos, key: k, over: invalidated})
	c.stats.invalidated.Add(1)
	return Receipt{Stamp: stamp, pos: pos, wrote: true}
}

// tombLife is how long an invalidation is remembered at most: a little longer than
// any copy of the session may live, since members disagree a little on its age.
func (c *Core) tombLife() time.Duration {
	return min(c.cfg.AbsoluteLifetime, 24*time.Hour) + granule(c.cfg.AbsoluteLifetime)
}

// remembered is until when it is remembered that a session of this age is over.
func (c *Core) remembered(now, created time.Duration) time.Duration {
	return min(now+c.tombLife(), created+c.cfg.AbsoluteLifetime+granule(c.cfg.AbsoluteLifetime))
}

// checkSize tells whether the session may grow by the writes. Called with the
// bucket's lock held.
func (c *Core) checkSize(s *session, writes []Write) error {
	was, names := s.size(), len(s.regs)
	size := was
	for _, w := range writes {
		i, found := s.find(w.Name)
		if found {
			size += len(w.Value) - len(s.regs[i].value)
		} else {
			size += len(w.Name) + len(w.Value)
			names++
		}
	}
	if size > was && size > c.cfg.MaxSessionBytes || names > MaxNames {
		return ErrTooLarge
	}
	return nil
}

func (s *session) touch(now time.Duration) {
	s.last = max(s.last, now)
	s.served = s.last
}

// overtake sends a session, or that it is over, ahead of the changes that a
// lagging member has not been sent yet: a login or logout must not wait for them.
func (c *Core) overtake(k Key) {
	backlog := uint64(min(maxBatch, len(c.log.slots)/4))
	head := c.log.head.Load()
	for _, l := range *c.links.Load() {
		l.mu.Lock()
		lags := l.up && (head-l.cursor > backlog || len(l.sent) >= windowSent)
		if lags {
			l.push.add(k)
		}
		l.mu.Unlock()
		if lags {
			c.group.Wake(l.id, true, true)
		}
	}
}

func (c *Core) wakeAll(urgent bool) {
	for _, l := range *c.links.Load() {
		c.group.Wake(l.id, false, urgent)
	}
}

func (c *Core) remember(past pastLife) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.past = append(c.past[max(0, len(c.past)-maxPast+1):], past)
}

// linkLife is how long a link is kept to a member that is neither connected nor heard.
const linkLife = time.Minute

// forgetSilent drops the link to a member that was heard and never connected:
// nobody may say of such a one that it is gone.
func (c *Core) forgetSilent(now time.Duration, l *link) {
	l.mu.Lock()
	silent := !l.up && now-l.seenAt > linkLife
	l.mu.Unlock()
	if silent {
		c.Gone(now, l.id)
	}
}

// isPast tells whether the life has ended, or is believed to have, and has not been
// connected since.
func (c *Core) isPast(id membership.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.past, func(p pastLife) bool { return p.ID == id })
}

// apply merges one delta that a member sent. It reports what the link has to do
// about it. Repair tells that the delta answers a repair, so that ages in it
// count only with news: else two members would tell each other for ever that a
// session was used a little later.
func (c *Core) apply(now time.Duration, d *delta, repair bool) verdict {
	b := c.table.of(d.key)
	b.mu.Lock()
	v, events := c.applyLocked(now, b, d, repair)
	b.mu.Unlock()
	if v.newcomer {
		c.arrive(d.key)
	}
	if v.parent != (Key{}) {
		events = c.succeed(now, d, v, events)
	}
	c.observe(events)
	return v
}

func (c *Core) applyLocked(now time.Duration, b *bucket, d *delta, repair bool) (v verdict, events []Event) {
	if t, dead := b.tombs[d.key]; dead {
		v.dead = !d.dead && t.until > now
		if mutate.Is(mutate.ReviveOnRepair) && repair && d.full {
			c.table.forget(b, d.key)
		}
		return v, nil
	}
	s := b.session(d.key)
	if d.dead {
		c.applyDead(now, b, s, d)
		return v, c.ended(Invalidated, s, true)
	}
	if d.expired {
		returned := s != nil && s.returned && !d.returned && !mutate.Is(mutate.ReturnOverruled)
		if s != nil && s.last <= now-d.idle+expirySlack && !returned {
			c.table.remove(b, s)
			c.stats.expired.Add(1)
			events = c.ended(Expired, s, true)
		}
		return v, events
	}
	fresh := s == nil
	if fresh {
		if len(d.regs) == 0 || c.tooOld(d) {
			v.missing = len(d.regs) == 0 && !c.tooOld(d)
			return v, nil
		}
		s = &session{key: d.key, created: now - d.age, last: now - d.idle, served: never, told: never, heard: never, partial: !d.full, limit: limitOf(c.cfg.MaxInactive), returned: d.returned}
		c.table.add(b, s)
		v.newcomer = !s.returned
	}
	var few [4]string
	changed := c.table.merge(b, s, d.regs, c.cfg.MaxInactive, few[:0])
	v.changed = len(changed) > 0
	if slices.Contains(changed, authName) {
		a, _ := s.auth()
		v.parent, v.since = a.Parent, s.regs[0].stamp.Clock
	}
	if d.full {
		v.changed = c.table.complete(b, s) || v.changed
		s.created = min(s.created, now-d.age)
	}
	v.changed = d.returned && c.table.comeBack(b, s) || v.changed
	if fresh || v.changed || !repair || d.asked {
		s.heard = max(s.heard, now-d.idle)
		s.last = max(s.last, s.heard)
	}
	v.missing = s.partial && !repair && !mutate.Is(mutate.NoWant)
	kind := AttributeChanged
	if fresh {
		kind = Created
	}
	return v, c.events(s, kind, true, changed)
}

// verdict is what follows from a delta.
type verdict struct {
	changed bool // it had news
	missing bool // the session is not whole here: it must be fetched
	dead    bool // the session is over: the sender must be told

	newcomer bool   // it is new here, and its cookie has not come back
	parent   Key    // of the session in whose place it goes on, if that is news
	since    uint64 // and when it does
}

// expirySlack allows for the time a delta travels.
const expirySlack = 500 * time.Millisecond

func (c *Core) applyDead(now time.Duration, b *bucket, s *session, d *delta) {
	until := now - d.age + c.tombLife()
	if s != nil {
		c.stats.invalidated.Add(1)
	}
	if until > now {
		at := tomb{until: until, rank: d.rank}
		if d.moved {
			at.next = somewhere
		}
		c.table.bury(b, d.key, at)
	} else if s != nil {
		c.table.remove(b, s)
	}
}

// tooOld tells whether a session that is not here has expired by what the
// delta says, so that it must not come back.
func (c *Core) tooOld(d *delta) bool {
	if d.age >= c.cfg.AbsoluteLifetime {
		return true
	}
	limit := c.cfg.MaxInactive
	for i := range d.regs {
		if d.regs[i].name() == inactiveName {
			limit = parseInactive(d.regs[i].value, limit)
		}
	}
	limit = lifeUnused(limit, c.cfg.FirstInactive, d.returned)
	return limit > 0 && d.idle >= limit
}

// Enter is called before a request is served: it notices a pause. It reports Ready.
func (c *Core) Enter(now time.Duration) bool {
	c.enter(now)
	return c.Ready()
}

// HandOver lets every member compare itself with this node, which is about to
// leave: it may be the only one that has what a third has written. Flushed
// tells when that is done.
func (c *Core) HandOver(now time.Duration) {
	c.enter(now)
	if mutate.Is(mutate.NoHandOver) {
		return
	}
	for _, l := range *c.links.Load() {
		l.mu.Lock()
		l.epoch = c.stats.epochs.Add(1)
		l.rewind()
		l.beatDue = true
		l.mu.Unlock()
		c.group.Wake(l.id, false, true)
	}
}

// Flushed tells whether every member that is linked has applied all changes
// made here, and after a HandOver has all that this node had: it may end.
func (c *Core) Flushed() bool {
	for _, l := range *c.links.Load() {
		l.mu.Lock()
		behind := l.acked != c.log.head.Load() || l.peer.repaired != l.epoch && !mutate.Is(mutate.FlushedTooEarly) || l.push.len() > 0
		l.mu.Unlock()
		if behind {
			return false
		}
	}
	return true
}

// Ready tells whether the node may serve: it has repaired with every member it
// can reach since it started, or since it was paused.
func (c *Core) Ready() bool { return c.ready.Load() }

// Settle says that discovery has had its first chance: a node without links is
// alone from now on, not early.
func (c *Core) Settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settled = true
}

// Connected says that payloads can be sent to the member, and that what was
// sent before may have been lost.
func (c *Core) Connected(now time.Duration, id membership.ID) {
	c.enter(now)
	l := c.ensureLink(now, id)
	l.mu.Lock()
	l.connected(now)
	l.mu.Unlock()
	c.group.Wake(id, false, true)
	c.group.Wake(id, true, true) // what was to be asked when the connection was lost
}

// Disconnected says that nothing can be sent to the member for now.
func (c *Core) Disconnected(now time.Duration, id membership.ID) {
	c.enter(now)
	if l := c.link(id); l != nil {
		c.deal.release(l)
		l.mu.Lock()
		l.up, l.repair = false, nil
		l.missAsks()
		l.mu.Unlock()
	}
}

// Gone says that this life of the member has ended; its link is forgotten.
func (c *Core) Gone(now time.Duration, id membership.ID) {
	c.enter(now)
	l := c.link(id)
	if l == nil {
		past, _ := c.recall(now, id)
		c.remember(past) // what it sent before its end may still come
		return
	}
	c.deal.release(l)
	l.mu.Lock()
	past := pastLife{id, l.clean, l.lag}
	l.mu.Unlock()
	c.mu.Lock()
	links := slices.DeleteFunc(slices.Clone(*c.links.Load()), func(o *link) bool { return o == l })
	c.links.Store(&links)
	c.mu.Unlock()
	c.remember(past)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up, l.gone = false, true
	l.loseWaiters()
	l.missAsks()
}
