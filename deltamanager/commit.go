package deltamanager

import (
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
)

// Receipt is where a commit stands in the log, for a caller that waits until it has
// been applied elsewhere.
type Receipt struct {
	Stamp Stamp
	pos   uint64
	wrote bool
	final bool // see Result
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

// Identity is what a move gives a session: a key that was never used, the cookie hash of
// the user's new cookie, and the user's name.
type Identity struct {
	Key        Key
	CookieHash CookieHash
	Principal  string
}

// Create makes a session that is found by the cookie hash. The key is drawn from cfg.Rand.
func (c *Core) Create(now time.Duration, cookie CookieHash, tx Tx) (Ref, Receipt, error) {
	var k Key
	if _, err := c.cfg.Rand.Read(k[:]); err != nil {
		return Ref{}, Receipt{}, err
	}
	return c.CreateKey(now, k, cookie, tx)
}

// CreateKey is Create with a key that was drawn before, and never used.
func (c *Core) CreateKey(now time.Duration, k Key, cookie CookieHash, tx Tx) (Ref, Receipt, error) {
	c.enter(now)
	if !c.expirer.makeRoom() {
		return Ref{}, Receipt{}, ErrFull
	}
	b := c.table.Lock(k)
	pos := c.log.reserve()
	stamp := Stamp{Clock: c.clock.Tick(now), Incarnation: c.cfg.Self.Incarnation}
	var few [4]table.Register
	regs := append(few[:0], table.Register{ID: nil, Stamp: stamp, Value: Auth{CookieHash: cookie, Principal: tx.Principal}.Encode()})
	regs = c.appendWrites(regs, tx, stamp)
	s := b.Create(now, k, tx.Returned || tx.Principal != "")
	changed := b.Merge(s, regs, nil)
	c.log.publish(&change{pos: pos, key: s.Key, all: true})
	events := c.listeners.events(s, Created, false, changed)
	newcomer := !s.Returned
	b.Unlock()
	if newcomer {
		c.table.Arrive(k)
	}
	c.listeners.observe(events)
	c.stats.sessions.created.Add(1)
	c.peers.wakeAll(false)
	return Ref{c, s, c.fence.pauses.Load()}, Receipt{Stamp: stamp, pos: pos, wrote: true}, nil
}

// appendWrites adds what the request wrote.
func (c *Core) appendWrites(regs []table.Register, tx Tx, stamp Stamp) []table.Register {
	if tx.MaxInactive != nil {
		regs = append(
			regs,
			table.Register{ID: c.names.Of([]byte(table.InactiveName)), Stamp: stamp, Value: table.EncodeInactive(*tx.MaxInactive)},
		)
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
	if r.pauses != c.fence.pauses.Load() {
		return Receipt{}, ErrNotReady
	}
	b := c.table.Lock(r.s.Key)
	s, err := r.here(b)
	if err != nil {
		b.Unlock()
		return Receipt{}, err
	}
	if tx.Invalidate {
		events := c.listeners.ended(Invalidated, b.Session(s.Key), false)
		receipt := c.invalidate(now, b, s.Key)
		b.Unlock()
		c.listeners.observe(events)
		c.peers.wakeAll(true)
		c.peers.overtake(s.Key)
		return receipt, nil
	}
	s.Touch(now)
	if len(tx.Writes) == 0 && tx.MaxInactive == nil {
		due := s.AnnounceDue(now)
		if due {
			s.Announce(now)
			c.log.publish(&change{pos: c.log.reserve(), key: s.Key})
		}
		b.Unlock()
		if due {
			c.peers.wakeAll(false)
		}
		return Receipt{}, nil
	}
	if !b.Fits(s, tx.Writes) {
		b.Unlock()
		return Receipt{}, ErrTooLarge
	}
	receipt, events := c.write(now, b, s, tx)
	b.Unlock()
	c.listeners.observe(events)
	c.peers.wakeAll(false)
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
	s.Announce(now)
	c.log.publish(&ch.change)
	c.stats.sessions.commits.Add(1)
	return Receipt{Stamp: stamp, pos: pos, wrote: true}, c.listeners.events(s, AttributeChanged, false, ch.names)
}

// invalidate buries the session and logs it.
func (c *Core) invalidate(now time.Duration, b table.Bucket, k Key) Receipt {
	pos := c.log.reserve()
	stamp := Stamp{Clock: c.clock.Tick(now), Incarnation: c.cfg.Self.Incarnation}
	b.Invalidate(now, k, stamp.Clock)
	c.log.publish(&change{pos: pos, key: k, over: table.Invalidated})
	c.stats.sessions.invalidated.Add(1)
	return Receipt{Stamp: stamp, pos: pos, wrote: true}
}

// Move applies what a request wrote, as Commit does, and gives the session another
// identity, as a login must: a stranger that knew the former cookie must not get at what
// comes after it. A new session with all attributes takes the place of the old one, which
// is over for good, like one that was invalidated; its age and its time unused go on.
//
// That there are two sessions, and not one that changes its cookie hash, makes the order
// in which members hear of things irrelevant. What is written under the new cookie is
// written to the new key, so a member that has not heard of the move shows none of it
// under the old cookie; a member that has heard of the new session buries the old one in
// the same step. Of two moves of one session at two nodes, each has a session of its own.
func (c *Core) Move(now time.Duration, r Ref, to Identity, tx Tx) (Ref, Receipt, error) {
	c.enter(now)
	if r.pauses != c.fence.pauses.Load() {
		return Ref{}, Receipt{}, ErrNotReady
	}
	from, b, unlock := c.table.LockBoth(r.s.Key, to.Key)
	old, err := r.here(from)
	if err == nil {
		err = fit(b.Fits(old, tx.Writes))
	}
	if err != nil {
		unlock()
		return Ref{}, Receipt{}, err
	}
	s, receipt, events := c.move(now, b, old, to, tx)
	from.Replace(now, old, to.Key, receipt.Stamp.Clock)
	c.log.publish(&change{pos: receipt.pos, key: old.Key, over: table.Invalidated})
	newcomer := !s.Returned
	unlock()
	if newcomer {
		c.table.Arrive(to.Key)
	}
	c.listeners.observe(events)
	c.stats.sessions.moves.Add(1)
	c.peers.wakeAll(true)
	c.peers.overtake(to.Key)
	c.peers.overtake(old.Key)
	return Ref{c, s, r.pauses}, receipt, nil
}

// move makes and logs the session that takes the place of old. The receipt's position is
// that of old's end, which is to be logged.
func (c *Core) move(now time.Duration, b table.Bucket, old *table.Session, to Identity, tx Tx) (*table.Session, Receipt, []Event) {
	pos, end := c.log.reserve(), c.log.reserve()
	stamp := Stamp{Clock: c.clock.Tick(now), Incarnation: c.cfg.Self.Incarnation}
	auth := Auth{CookieHash: to.CookieHash, Principal: to.Principal, Parent: old.Key}
	regs := make([]table.Register, 1, len(old.Regs)+len(tx.Writes)+1)
	regs[0] = table.Register{ID: nil, Stamp: stamp, Value: auth.Encode()}
	for _, r := range old.Regs {
		if r.ID != nil && r.Value != nil { // what was removed stays behind
			regs = append(regs, table.Register{ID: r.ID, Stamp: stamp, Value: r.Value})
		}
	}
	s := b.CreateAfter(now, to.Key, old, to.Principal != "")
	b.Merge(s, regs, nil)
	changed := b.Overwrite(s, c.appendWrites(nil, tx, stamp))
	c.log.publish(&change{pos: pos, key: s.Key, all: true})
	c.stats.sessions.commits.Add(1)
	return s, Receipt{Stamp: stamp, pos: end, wrote: true}, c.listeners.events(s, IDChanged, false, changed)
}

// fit is the error of writes that may not fit.
func fit(fits bool) error {
	if !fits {
		return ErrTooLarge
	}
	return nil
}
