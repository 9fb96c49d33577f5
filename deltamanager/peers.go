package deltamanager

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/progress"
	"github.com/nodeserver/nodeserver/membership"
)

// peers are the links to all incarnations of members, and what is remembered of ended ones.
type peers struct {
	self    membership.ID
	group   Group
	log     *changeLog
	fence   *fence
	granule time.Duration           // how exactly uses are announced
	links   atomic.Pointer[[]*link] // sorted by id; replaced, never changed

	seqs   atomic.Uint64 // highest number of a frame so far
	epochs atomic.Uint64 // last epoch

	mu   sync.Mutex        // guards what follows, and replacing links
	past []pastIncarnation // ended, the latest maxPast
}

// pastIncarnation is an incarnation that has ended, or was believed to have.
type pastIncarnation struct {
	membership.ID
	clean time.Duration // when it had applied all changes
	lag   progress.Lag
}

// maxPast is how many ended incarnations are remembered.
const maxPast = 256

// all are the links, sorted by id; not to be changed.
func (p *peers) all() []*link { return *p.links.Load() }

// drop forgets the link, since its incarnation has ended.
func (p *peers) drop(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	links := slices.DeleteFunc(slices.Clone(p.all()), func(o *link) bool { return o == l })
	p.links.Store(&links)
}

// epoch draws an epoch that was never used.
func (p *peers) epoch() uint64 { return p.epochs.Add(1) }

// link returns the link to an incarnation of a member, nil if there is none.
func (p *peers) link(id membership.ID) *link {
	links := p.all()
	if i, ok := slices.BinarySearchFunc(links, id, func(l *link, id membership.ID) int { return l.id.Compare(id) }); ok {
		return links[i]
	}
	return nil
}

// ensureLink returns the link to an incarnation of a member, making it if need be.
func (p *peers) ensureLink(now time.Duration, id membership.ID) *link {
	if l := p.link(id); l != nil {
		return l
	}
	past, known := p.recall(now, id)
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.link(id); l != nil {
		return l
	}
	made := newLink(now, id, p.epoch(), p.seqs.Load(), p.log.head.Load())
	l := &made.guarded // no other goroutine has it yet
	l.out.clean, l.out.unannounced, l.out.strange, l.in.lag = past.clean, true, !known, past.lag
	links := append(slices.Clone(p.all()), made)
	slices.SortFunc(links, func(a, b *link) int { return a.id.Compare(b.id) })
	p.links.Store(&links)
	return made
}

// recall takes what is remembered of an incarnation that gets a new link. One that
// is new here may learn of others' sessions from a member that is a little behind.
func (p *peers) recall(now time.Duration, id membership.ID) (past pastIncarnation, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.past, func(o pastIncarnation) bool { return o.ID == id })
	if i < 0 {
		return pastIncarnation{id, p.announcedToAll(now), progress.Lag{}}, false
	}
	past = p.past[i]
	p.past = slices.Delete(p.past, i, i+1)
	return past, true
}

// announcedToAll is up to when the other members surely have all that was announced here.
func (p *peers) announcedToAll(now time.Duration) time.Duration {
	const lag = 10 * time.Second // a member that is behind for longer is gone
	return p.fence.announcedUntil(now, lag) - p.granule
}

// overtake sends a session, or that it is over, ahead of the changes that a
// lagging member has not been sent yet: a login or logout must not wait for them.
func (p *peers) overtake(k Key) {
	backlog := uint64(min(maxBatch, len(p.log.slots)/4))
	head := p.log.head.Load()
	for _, to := range p.all() {
		l := to.lock()
		lags := l.up && (head-l.out.Cursor() > backlog || l.out.Full())
		if lags {
			l.repair.push.add(k)
		}
		l.unlock()
		if lags {
			p.group.Wake(l.id, true, true)
		}
	}
}

func (p *peers) wakeAll(urgent bool) {
	for _, l := range p.all() {
		p.group.Wake(l.id, false, urgent)
	}
}

func (p *peers) remember(past pastIncarnation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.past = append(p.past[max(0, len(p.past)-maxPast+1):], past)
}

// isPast tells whether the incarnation has ended, or is believed to have, and has not been
// connected since.
func (p *peers) isPast(id membership.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.past, func(o pastIncarnation) bool { return o.ID == id })
}

// expiresHere tells whether this node speaks for the end of a session that
// another one used last, and has not announced its end: that one must be gone.
func (p *peers) expiresHere() bool {
	for _, to := range p.all() {
		l := to.lock()
		smaller := l.up && l.id.Compare(p.self) < 0
		l.unlock()
		if smaller {
			return false
		}
	}
	return true
}

// linkOf is the link to the incarnation, nil if there is none.
func (p *peers) linkOf(incarnation uint64) *link {
	for _, l := range p.all() {
		if l.id.Incarnation == incarnation {
			return l
		}
	}
	return nil
}

// reaches tells whether the incarnation can be asked.
func (p *peers) reaches(incarnation uint64) bool {
	to := p.linkOf(incarnation)
	if to == nil {
		return false
	}
	l := to.lock()
	defer l.unlock()
	return l.up
}

// behind tells whether something is known to be missing of what a member has.
func (p *peers) behind() bool {
	for _, to := range p.all() {
		l := to.lock()
		behind := l.up && l.in.Behind()
		l.unlock()
		if behind {
			return true
		}
	}
	return false
}

func (p *peers) allRepaired() bool {
	for _, to := range p.all() {
		l := to.lock()
		// A link that is down may be the one whose member has what is missing
		// here; it counts until the member is gone.
		behind := !l.gone && !l.in.Settled()
		l.unlock()
		if behind {
			return false
		}
	}
	return true
}

// nameOf is the name of the node that an incarnation was at; empty: not known any more.
func (p *peers) nameOf(incarnation uint64) string {
	if l := p.linkOf(incarnation); l != nil {
		return l.id.Name
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.IndexFunc(p.past, func(o pastIncarnation) bool { return o.Incarnation == incarnation }); i >= 0 {
		return p.past[i].Name
	}
	return ""
}

// roomy tells whether no member lags by more than half of the log.
func (p *peers) roomy() bool {
	head := p.log.head.Load()
	for _, to := range p.all() {
		l := to.lock()
		lags := l.up && head-l.out.Acked() > uint64(len(p.log.slots)/2)
		l.unlock()
		if lags {
			return false
		}
	}
	return true
}

// raiseSeqs keeps the highest frame number of all links, where new links begin.
func (p *peers) raiseSeqs(seq uint64) {
	for {
		old := p.seqs.Load()
		if seq <= old || p.seqs.CompareAndSwap(old, seq) {
			return
		}
	}
}
