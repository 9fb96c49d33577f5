package deltamanager

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/mutate"
	"github.com/nodeserver/nodeserver/deltamanager/internal/progress"
	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	"github.com/nodeserver/nodeserver/deltamanager/internal/token"
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
// Locks are taken in the order Core.mu, link.mu, encoder.mu, then those of the table; deal.mu
// and shares.mu are leaves.
type Core struct {
	cfg     Config
	group   Group
	clock   table.Clock
	table   *table.Table
	log     *changeLog
	enc     encoder
	stats   counters
	numbers numbers
	pauses  atomic.Uint64 // times the process had not run for over pauseFence
	deal    deal
	touches touches
	names   table.Names
	keys    token.Ring

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

// numbers are handed out once each, whichever link asks.
type numbers struct {
	seqs   atomic.Uint64 // highest number of a frame so far
	epochs atomic.Uint64 // last epoch
}

// pastLife is a life that has ended, or was believed to have.
type pastLife struct {
	membership.ID
	clean time.Duration // when it had applied all changes
	lag   progress.Lag
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
	c.clock.Start(cfg.Wall)
	c.keys.Init(cfg.TokenKeys, cfg.Rand, c.clock.Read())
	c.SetObserving(true)
	c.table = table.New(cfg.Seed, table.Limits{
		MaxInactive: cfg.MaxInactive, Lifetime: cfg.AbsoluteLifetime, FirstInactive: cfg.FirstInactive,
		MaxSessions: cfg.MaxSessions, MaxNewcomers: cfg.MaxNewcomers, MaxBytes: cfg.MaxSessionBytes, MaxTombs: cfg.MaxTombstones,
	})
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
	case a.Incarnation < b.Incarnation:
		return -1
	case a.Incarnation > b.Incarnation:
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
	l := newLink(now, id, c.numbers.epochs.Add(1), c.numbers.seqs.Load(), c.log.head.Load())
	l.out.clean, l.out.untold, l.out.strange, l.in.lag = past.clean, true, !known, past.lag
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
		return pastLife{id, c.toldAll(now), progress.Lag{}}, false
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
	return since - table.Granule(c.cfg.MaxInactive)
}

// enter is called first by every entry point. After a pause of the whole
// process, anything may run first: whoever does finds out, and the node stops
// being ready until it has repaired.
func (c *Core) enter(now time.Duration) {
	last := c.beatAt.Load()
	if last == 0 || now-time.Duration(last) <= pauseFence || mutate.Is(mutate.NoPauseFence) || !c.beatAt.CompareAndSwap(last, int64(now)) {
		return
	}
	c.pauses.Add(1)
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
		l.in.Unsettle()
		l.repair.run, l.repair.behindAt = nil, now
		l.repair.distrust = true
		l.mu.Unlock()
	}
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
	b := c.table.Lock(k)
	pos := c.log.reserve()
	stamp := Stamp{Clock: c.clock.Tick(now), Incarnation: c.cfg.Self.Incarnation}
	var few [4]table.Register
	regs := append(few[:0], table.Register{ID: nil, Stamp: stamp, Value: Auth{Tag: tag, Principal: tx.Principal}.Encode()})
	regs = c.appendWrites(regs, tx, stamp)
	s := b.Create(now, k, tx.Returned || tx.Principal != "")
	changed := b.Merge(s, regs, nil)
	c.log.publish(&change{pos: pos, key: s.Key, all: true})
	events := c.events(s, Created, false, changed)
	newcomer := !s.Returned
	b.Unlock()
	if newcomer {
		c.table.Arrive(k)
	}
	c.observe(events)
	c.stats.created.Add(1)
	c.wakeAll(false)
	return Ref{c, s, c.pauses.Load()}, Receipt{Stamp: stamp, pos: pos, wrote: true}, nil
}

// appendWrites adds what the request wrote.
func (c *Core) appendWrites(regs []table.Register, tx Tx, stamp Stamp) []table.Register {
	if tx.MaxInactive != nil {
		regs = append(regs, table.Register{ID: c.names.Of([]byte(table.InactiveName)), Stamp: stamp, Value: table.EncodeInactive(*tx.MaxInactive)})
	}
	for _, w := range tx.Writes {
		regs = append(regs, table.Register{ID: c.names.Of([]byte(w.Name)), Stamp: stamp, Value: w.Value})
	}
	return regs
}

// Commit applies what a request wrote. It fails with ErrGone when the session
// has ended meanwhile, with ErrMoved when another one goes on in its place, wherever
// that was, and with ErrNotReady when the node was paused since the request began: what
// it read may have been old.
func (c *Core) Commit(now time.Duration, r Ref, tx Tx) (Receipt, error) {
	c.enter(now)
	if r.pauses != c.pauses.Load() {
		return Receipt{}, ErrNotReady
	}
	b := c.table.Lock(r.s.Key)
	s, err := r.here(b)
	if err != nil {
		b.Unlock()
		return Receipt{}, err
	}
	if tx.Invalidate {
		events := c.ended(Invalidated, b.Session(s.Key), false)
		receipt := c.invalidate(now, b, s.Key)
		b.Unlock()
		c.observe(events)
		c.wakeAll(true)
		c.overtake(s.Key)
		return receipt, nil
	}
	s.Touch(now)
	if len(tx.Writes) == 0 && tx.MaxInactive == nil {
		due := !mutate.Is(mutate.NoTouch) && s.TellDue(now)
		if due {
			s.Tell(now)
			c.log.publish(&change{pos: c.log.reserve(), key: s.Key})
		}
		b.Unlock()
		if due {
			c.wakeAll(false)
		}
		return Receipt{}, nil
	}
	if !b.Fits(s, tx.Writes) {
		b.Unlock()
		return Receipt{}, ErrTooLarge
	}
	receipt, events := c.write(now, b, s, tx)
	b.Unlock()
	c.observe(events)
	c.wakeAll(false)
	return receipt, nil
}

// write merges and logs the writes.
func (c *Core) write(now time.Duration, b table.Bucket, s *table.Session, tx Tx) (Receipt, []Event) {
	pos := c.log.reserve()
	stamp := Stamp{Clock: c.clock.Tick(now), Incarnation: c.cfg.Self.Incarnation}
	var few [4]table.Register
	regs := c.appendWrites(few[:0], tx, stamp)
	ch := &written{change: change{pos: pos, key: s.Key}}
	ch.names = b.Merge(s, regs, ch.name[:0]) // all of them: the stamp is the newest
	s.Tell(now)
	c.log.publish(&ch.change)
	c.stats.commits.Add(1)
	return Receipt{Stamp: stamp, pos: pos, wrote: true}, c.events(s, AttributeChanged, false, ch.names)
}

// invalidate buries the session and logs it.
func (c *Core) invalidate(now time.Duration, b table.Bucket, k Key) Receipt {
	pos := c.log.reserve()
	stamp := Stamp{Clock: c.clock.Tick(now), Incarnation: c.cfg.Self.Incarnation}
	b.Invalidate(now, k, stamp.Clock)
	c.log.publish(&change{pos: pos, key: k, over: table.Invalidated})
	c.stats.invalidated.Add(1)
	return Receipt{Stamp: stamp, pos: pos, wrote: true}
}

// overtake sends a session, or that it is over, ahead of the changes that a
// lagging member has not been sent yet: a login or logout must not wait for them.
func (c *Core) overtake(k Key) {
	backlog := uint64(min(maxBatch, len(c.log.slots)/4))
	head := c.log.head.Load()
	for _, l := range *c.links.Load() {
		l.mu.Lock()
		lags := l.up && (head-l.out.Cursor() > backlog || l.out.Full())
		if lags {
			l.repair.push.add(k)
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

// apply merges one delta that a member sent, and does what follows from it here. It
// reports what the link has to do about it.
func (c *Core) apply(now time.Duration, d *table.Delta, from table.Source) table.Verdict {
	var few [4]string
	v, changed := c.table.Apply(now, d, from, few[:0])
	var events []Event
	switch {
	case v.Merged != nil:
		kind := AttributeChanged
		if v.Fresh {
			kind = Created
		}
		events = c.events(v.Merged, kind, true, changed)
	case v.Over != nil && v.Ending == table.Expired:
		c.stats.expired.Add(1)
		events = c.ended(Expired, v.Over, true)
	case v.Over != nil:
		c.stats.invalidated.Add(1)
		events = c.ended(Invalidated, v.Over, true)
	}
	if v.Newcomer {
		c.table.Arrive(d.Key)
	}
	if v.Parent != (Key{}) && !mutate.Is(mutate.ParentLives) {
		events = moved(events, c.table.Succeed(now, v.Parent, d.Key, d.Age, v.Since))
	}
	c.observe(events)
	return v
}

// fit is the error of writes that may not fit.
func fit(fits bool) error {
	if !fits {
		return ErrTooLarge
	}
	return nil
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
		l.out.Renew(c.numbers.epochs.Add(1))
		l.out.beatDue = true
		l.mu.Unlock()
		c.group.Wake(l.id, false, true)
	}
}

// Flushed tells whether every member that is linked has applied all changes
// made here, and after a HandOver has all that this node had: it may end.
func (c *Core) Flushed() bool {
	for _, l := range *c.links.Load() {
		l.mu.Lock()
		behind := l.out.Acked() != c.log.head.Load() || l.in.peer.Repaired != l.out.Epoch() && !mutate.Is(mutate.FlushedTooEarly) || l.repair.push.len() > 0
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
		l.up, l.repair.run = false, nil
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
	past := pastLife{id, l.out.clean, l.in.lag}
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
