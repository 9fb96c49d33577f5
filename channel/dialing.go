package channel

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// standing is how much an address can be trusted to lead to a member. Each standing has a quota of
// its own, so that addresses which anybody can make up don't displace others.
type standing int

const (
	unproven  standing = iota // anybody on the network can have proposed it
	announced                 // a member announced it
	listed                    // the operator gave it, by a list, a file or a name
)

// dialing is what one node knows of the addresses where members may be: which of them to dial, how
// soon again, which to forget, and when discovery has had its chance (settle.go). It is pure, like
// membership.View: it has no clock, no goroutine and no I/O. Its driver passes the time in, and
// carries out the steps that it returns. It is not safe for concurrent use.
type dialing struct {
	cfg     Config
	begun   time.Time
	joined  bool // a link was up once, or there was nobody to link to
	settled bool
	rows    map[string]*candidate // by address
}

// candidate is an address where a member may be.
type candidate struct {
	addr   string
	rank   standing
	self   bool // the address leads to this very node
	tried  bool // a dial has ended in a link, or without any chance of one
	absent bool // the latest dial was refused by the machine: no node runs there
	linked bool
	wait   time.Duration // between the latest two dials
	good   time.Time     // of the latest link
	since  time.Time     // dials have failed since
	seen   time.Time     // of the latest proposal
	taken  time.Time     // the name of this node has been refused there as taken since
	gaveUp bool          // a warning has said that the address does not answer
	plain  bool          // the latest dial met ErrPlain
	err    error         // this node's problem there: *DuplicateNameError, *SupersededError
	stray  error         // by the latest answer, this node is not of the cluster there: secret, name or version
}

// dialStep is what a dialing asks its driver for in answer to an event.
type dialStep struct {
	dial    bool     // begin to dial the proposed address
	forget  []string // stop dialling these addresses
	changed bool     // problem returns another answer than before
	settled bool     // settle has come to its end
	stop    error    // the channel is to end with this error
	lines   []line
}

func newDialing(cfg Config) dialing {
	return dialing{cfg: cfg, rows: map[string]*candidate{}}
}

// propose takes an address to dial.
func (t *dialing) propose(now time.Time, addr string, rank standing) (s dialStep) {
	if addr == "" || addr == t.cfg.Self.ChannelAddress {
		return s
	}
	if d := t.rows[addr]; d != nil {
		d.rank, d.seen = max(d.rank, rank), now
		return s
	}
	if t.count(rank) >= maxCandidates && !t.evict(&s, rank) {
		s.lines = append(s.lines, tooMany(addr))
		return s
	}
	t.rows[addr] = &candidate{addr: addr, rank: rank, since: now, seen: now}
	s.dial = true
	return s
}

func tooMany(addr string) line {
	return warn("too many addresses to dial, the node ignores some", "addr", addr).seldom("candidates")
}

func (t *dialing) count(rank standing) (n int) {
	for _, d := range t.rows {
		if d.rank == rank {
			n++
		}
	}
	return n
}

// evict forgets the address of the standing that has been failing for the longest time. Of the
// unproven ones it may also be one that is still being dialled: a member answers within a few
// milliseconds, and an address that does not answer must not keep a member out.
func (t *dialing) evict(s *dialStep, rank standing) bool {
	var worst *candidate
	for _, addr := range slices.Sorted(maps.Keys(t.rows)) {
		d := t.rows[addr]
		if d.rank != rank || d.linked || !d.tried && rank != unproven {
			continue
		}
		if worst == nil || d.tried && !worst.tried || d.tried == worst.tried && d.since.Before(worst.since) {
			worst = d
		}
	}
	if worst == nil {
		return false
	}
	if !worst.tried {
		s.lines = append(s.lines, tooMany(worst.addr))
	}
	t.forget(s, worst)
	return true
}

func (t *dialing) forget(s *dialStep, d *candidate) {
	delete(t.rows, d.addr)
	s.forget = append(s.forget, d.addr)
}

// expired tells whether an address whose dial failed is to be forgotten.
func (d *candidate) expired(now time.Time) bool {
	switch {
	case d.linked:
		return false
	case d.rank == unproven:
		return now.Sub(d.seen) > unprovenLife
	case d.rank == announced:
		return now.Sub(d.since) > lately
	}
	return now.Sub(d.since) > lately && now.Sub(d.seen) > lately // the operator has removed it
}

// linking says that the dial led to a link that may come up.
func (t *dialing) linking(addr string) { t.rows[addr].linked = true }

// up says that the link came up.
func (t *dialing) up(now time.Time, addr string) (s dialStep) {
	d := t.rows[addr]
	d.tried, d.gaveUp, d.absent, d.good, d.taken = true, false, false, now, time.Time{}
	d.stray, d.rank = nil, max(d.rank, announced) // the address has proven to be a member's
	s.problem(d, nil)
	return s
}

// ended says that the link has ended, whether it ever was up or not. An alias is another address of
// a member that is linked already: the member's own address is to be dialled first.
func (t *dialing) ended(now time.Time, addr string, alias bool) {
	d := t.rows[addr]
	d.linked, d.since, d.tried, d.wait = false, now, true, 0
	if alias {
		d.wait = retryAtMost
	}
}

// nudged says that the member at the address said hello: the node dials back soon.
func (t *dialing) nudged(addr string) { t.rows[addr].wait = 0 }

// pause is about how long to wait before the next dial; the driver adds the jitter.
func (t *dialing) pause(now time.Time, addr string) time.Duration {
	d := t.rows[addr]
	limit := retryAtMost
	switch {
	case !d.taken.IsZero():
		limit = retryLately / 2
	case now.Sub(d.good) < lately:
		limit = retryLately
	case d.rank == unproven:
		limit = unprovenSlow
	}
	d.wait = min(max(2*d.wait, firstRetry), limit)
	return d.wait
}

// failed says why a dial failed; again tells whether to go on dialling the address.
func (t *dialing) failed(now time.Time, addr string, err error) (s dialStep, again bool) {
	d := t.rows[addr]
	r, ok := errors.AsType[*Refusal](err)
	if !ok {
		r = &Refusal{}
	}
	d.absent = errors.Is(err, ErrRefused)
	if r.Reason == RefusedSelf {
		d.self, d.tried = true, true
		return s, false
	}
	t.judge(&s, d, now, r)
	plainBefore := d.plain
	t.explain(&s, d, now, r, err)
	d.stray = nil
	if r.Reason == RefusedCluster || r.Reason == RefusedWire || errors.Is(err, ErrSecret) || d.plain && plainBefore {
		d.stray = err
	}
	// A node that stops can look like one without TLS, once. An alias counts as tried when the link
	// that is there already is up.
	d.tried = (!d.plain || plainBefore) && !errors.Is(err, errAlias)
	if d.expired(now) {
		t.forget(&s, d)
		return s, false
	}
	return s, true
}

// judge sees whether the refusal is a problem of this node. Of two nodes of one name that start at
// the same time, the one with the lower incarnation stays.
func (t *dialing) judge(s *dialStep, d *candidate, now time.Time, r *Refusal) {
	switch {
	case r.Reason == RefusedDuplicate && (!r.Newcomer || t.cfg.Self.Incarnation >= r.Holder.Incarnation):
		t.nameTaken(s, d, now, r)
	case r.Reason == RefusedSuperseded:
		d.taken = time.Time{}
		s.problem(d, &SupersededError{Name: t.cfg.Self.Name, Address: r.Holder.ChannelAddress})
	default:
		d.taken = time.Time{}
		s.problem(d, nil)
	}
}

// nameTaken notes that a live node has this node's name. An earlier incarnation of this node that
// was just killed may look alive for a moment, so a newcomer gives up only after that time. A node
// that is a member already has a problem only if other members hold another node for the owner of
// the name: the other node's own claim may be that of a superseded incarnation.
func (t *dialing) nameTaken(s *dialStep, d *candidate, now time.Time, r *Refusal) {
	problem := &DuplicateNameError{Name: t.cfg.Self.Name, Address: r.Holder.ChannelAddress}
	if d.taken.IsZero() {
		d.taken = now
	}
	if t.joined {
		if !r.Own {
			s.problem(d, problem)
		}
	} else if now.Sub(d.taken) >= t.cfg.DownAfter {
		s.stop = problem
	}
}

func (s *dialStep) problem(d *candidate, err error) {
	s.changed = s.changed || (d.err == nil) != (err == nil)
	d.err = err
}

// explain logs what an operator should know of a dial that failed: a difference between two nodes
// at once, an address that does not answer after a while.
func (t *dialing) explain(s *dialStep, d *candidate, now time.Time, r *Refusal, err error) {
	before := d.plain
	d.plain = errors.Is(err, ErrPlain)
	say := func(l line) { s.lines = append(s.lines, l) }
	switch {
	case errors.Is(err, errAlias) || errors.Is(err, errLeaving) || r.Reason == RefusedLeaving:
	case d.rank == unproven: // an address that was made up must not fill the log
		if now.Sub(d.since) > unprovenTime || r.Reason != 0 || d.plain || errors.Is(err, ErrSecret) {
			say(warn("an address found by mdns leads to no member of this cluster", "addr", d.addr, "err", err).
				seldom("unproven"))
		}
	case d.plain && !before: // the node there may be about to stop
	case errors.Is(err, ErrSecret), d.plain:
		say(warn("no connection, the security of the two nodes differs", "event", "refused", "addr", d.addr, "err", err).
			once(outSubject(d.addr), err.Error()))
	case r.Reason != 0:
		say(warn("node refused by a member", "event", "turnedaway", "addr", d.addr, "err", r.Text).once(outSubject(d.addr), r.Text))
	case !d.gaveUp && now.Sub(d.since) > silent && now.Sub(d.good) > silent:
		d.gaveUp = true
		say(warn("the address does not answer, the node keeps dialling it", "addr", d.addr, "err", err))
	default:
		say(debug("dial", "addr", d.addr, "err", err))
	}
}

// outSubject is the subject of log lines about dials of the address.
func outSubject(addr string) string { return "out/" + addr }

// problem is the first problem of this node, by address, or nil.
func (t *dialing) problem() error {
	for _, addr := range slices.Sorted(maps.Keys(t.rows)) {
		if err := t.rows[addr].err; err != nil {
			return err
		}
	}
	return nil
}

// here counts the members alive in this node's domain, the node itself included.
func (t *dialing) here(members []membership.Status) int {
	n := 1
	for _, m := range members {
		if m.State == membership.Alive && m.Domain == t.cfg.Self.Domain {
			n++
		}
	}
	return n
}
