package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/membership"
)

// world is one history while it is played.
type world struct {
	seed  uint64
	rnd   *rand.Rand
	mix   Mix
	now   time.Duration
	seq   uint64
	queue events

	nodes        []*node
	incarnations uint64
	network      network
	clients      []*client
	obs          observer
	load         time.Duration // when clients and faults end
	quiet        bool          // they have ended
	rolling      bool          // a rolling restart is under way

	hash  uint64
	focus deltamanager.Key // the session whose events are told
	story *story           // nil: nothing is told
}

// node is a place that one incarnation after the other lives at.
type node struct {
	index       int
	name        string
	incarnation *incarnation // the latest
	draining    bool
	skew        time.Duration // of the latest incarnation
	slow        time.Duration
	slowAt      time.Duration // since when it is not slow any more
}

// incarnation is a process from start to crash.
type incarnation struct {
	w          *world
	node       *node
	id         membership.ID
	core       *deltamanager.Core
	born       time.Duration
	alive      bool
	paused     bool
	waking     bool // was paused; what was held is being delivered
	slept      time.Duration
	woke       time.Duration
	held       []func()
	conns      []*conn // to the other nodes, by index; nil: never connected
	ticked     bool    // since its latest long pause
	settled    bool
	served     bool                                                // a request
	longPauses int64                                               // that must have been noticed
	offered    map[*incarnation]map[deltamanager.Key]time.Duration // sessions that others had whole when it began, and when they were used
}

// base is the wall clock when every history begins.
var base = time.UnixMilli(1_700_000_000_000)

func newWorld(seed uint64, mix *Mix) *world {
	w := &world{seed: seed, rnd: rand.New(rand.NewPCG(seed, 0x5e551045))}
	w.mix = drawMix(w.rnd)
	w.mix.drawNewcomers(rand.New(rand.NewPCG(seed, 0xb0c4ba11)))
	if mix != nil {
		w.mix = *mix
	}
	w.obs.w = w
	w.obs.kept = map[deltamanager.Key]bool{}
	w.obs.writes = map[deltamanager.Key][]*written{}
	w.obs.ended = map[deltamanager.Key]*ended{}
	w.network.init(w.mix.Nodes)
	w.load = startup + w.mix.Load
	return w
}

// startup is how long nodes have to find each other before clients come.
const startup = 2 * time.Second

// after plans something.
func (w *world) after(d time.Duration, do func()) {
	w.seq++
	w.queue.push(event{w.now + max(d, 0), w.seq, do})
}

// runTo plays all events up to t.
func (w *world) runTo(t time.Duration) {
	for len(w.queue) > 0 && w.queue[0].at <= t {
		e := w.queue.pop()
		w.now = e.at
		e.do()
	}
	w.now = t
}

func (w *world) chance(p float64) bool { return p > 0 && w.rnd.Float64() < p }

func (w *world) between(lo, hi time.Duration) time.Duration { return between(w.rnd, lo, hi) }

// fold takes something that happened into the trace hash.
func (w *world) fold(words ...uint64) {
	for _, x := range words {
		w.hash = (w.hash ^ x) * 0x100000001b3
		w.hash ^= w.hash >> 29
	}
}

func (w *world) foldBytes(b []byte) {
	for len(b) >= 8 {
		w.fold(
			uint64(
				b[0],
			) | uint64(
				b[1],
			)<<8 | uint64(
				b[2],
			)<<16 | uint64(
				b[3],
			)<<24 | uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56,
		)
		b = b[8:]
	}
	for _, x := range b {
		w.fold(uint64(x))
	}
}

// randomReader draws session keys from the world's chance.
type randomReader struct{ r *rand.Rand }

func (r randomReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r.r.Uint32())
	}
	return len(p), nil
}

// start begins an incarnation at the node, connected to nobody.
func (w *world) start(n *node) {
	w.incarnations++
	l := &incarnation{w: w, node: n, born: w.now, alive: true, conns: make([]*conn, len(w.nodes))}
	l.id = membership.ID{Name: n.name, Incarnation: w.rnd.Uint64()<<16 | w.incarnations}
	skew := w.between(-w.mix.Skew, w.mix.Skew)
	w.obs.starts(n, skew)
	m := w.mix
	l.core = deltamanager.NewCore(deltamanager.Config{
		Self: l.id,
		Limits: deltamanager.Limits{
			MaxInactive: m.MaxInactive, FirstInactive: m.FirstInactive, Lifetime: m.Lifetime,
			MaxNewcomers: m.Newcomers, MaxBytes: 1 << 20,
		},
		ChangeLogEntries: m.Queue, Heartbeat: m.Heartbeat, RepairInterval: m.Repair,
		JoinTimeout: time.Hour, AckTimeout: 250 * time.Millisecond, FreshnessWait: m.FreshnessWait,
		Seed: 42, Wall: base.Add(w.now + skew), Rand: randomReader{w.rnd}, TokenKeys: w.tokenKeys(),
	}, l)
	n.incarnation, n.draining, n.skew = l, false, skew
	w.obs.incarnations = append(w.obs.incarnations, l)
	w.obs.offers(l)
	w.tell("%v starts, skew %v", l.id, skew.Round(time.Second))
	w.after(w.between(0, tick), func() { w.tick(l) })
	w.after(time.Second, func() { w.call(l, func() { l.core.Settle(); l.settled = true }) })
	w.network.joined(w, l)
}

// secret tells whether the cluster has a secret, as half of them have; in the others the
// members agree on a key for tokens.
func (w *world) secret() bool { return w.seed%2 == 0 }

func (w *world) tokenKeys() *deltamanager.TokenKeys {
	if !w.secret() {
		return nil
	}
	return deltamanager.NewTokenKeys(deltamanager.TokenKey{1, 2, 3})
}

// tick is how often cores are ticked.
const tick = 50 * time.Millisecond

func (w *world) tick(l *incarnation) {
	if !l.alive {
		return
	}
	if !l.paused {
		l.core.Tick(l.now())
		l.ticked = true
	}
	w.after(tick, func() { w.tick(l) })
}

// now is the incarnation's monotonic clock.
func (l *incarnation) now() time.Duration { return l.w.now - l.born + time.Millisecond }

// call does something at an incarnation, in order: later, if it is paused.
func (w *world) call(l *incarnation, do func()) {
	switch {
	case !l.alive:
	case l.paused || l.waking:
		l.held = append(l.held, do)
	default:
		do()
	}
}

// kill ends an incarnation without warning.
func (w *world) kill(l *incarnation, why string) {
	l.alive, l.held = false, nil
	w.tell("%v %s", l.id, why)
	w.obs.died(l)
	w.network.died(w, l)
}

func (w *world) pause(l *incarnation, d time.Duration) {
	l.paused, l.slept = true, w.now
	w.tell("%v is paused for %v", l.id, d)
	w.after(d, func() { w.resume(l) })
}

// resume lets an incarnation run again: first anything, then what was held, in order.
func (w *world) resume(l *incarnation) {
	if !l.alive || !l.paused {
		return
	}
	w.tell("%v runs again", l.id)
	l.paused, l.waking, l.woke = false, true, w.now
	if w.now-l.slept > noticed && l.ticked { // else it is one with the pause before
		l.longPauses++
		w.obs.count(Noticed)
		l.ticked = false
	}
	w.after(w.between(0, 2*time.Millisecond), func() { w.drain(l) })
}

// noticed is how long a pause must be to be noticed.
const noticed = 2 * time.Second

func (w *world) drain(l *incarnation) {
	for range 8 {
		if !l.alive || l.paused {
			return
		}
		if len(l.held) == 0 {
			l.waking = false
			return
		}
		do := l.held[0]
		l.held = l.held[1:]
		do()
	}
	w.after(50*time.Microsecond, func() { w.drain(l) })
}

// Wake implements deltamanager.Group.
func (l *incarnation) Wake(to membership.ID, bulk, urgent bool) {
	l.w.network.wake(l, to, bulk, urgent)
}

// tell adds a line to the story that is told of a violation.
func (w *world) tell(format string, args ...any) {
	if w.story != nil {
		w.story.add(w.now, fmt.Sprintf(format, args...))
	}
}

// tellOf is tell for what concerns one session only.
func (w *world) tellOf(k deltamanager.Key, format string, args ...any) {
	if w.story != nil && k == w.focus {
		w.story.add(w.now, fmt.Sprintf(format, args...))
	}
}

// story is the latest events that concern a session, and all faults.
type story struct {
	lines []string
	keep  int
	ended bool // the violation has been told
}

func (s *story) add(at time.Duration, line string) {
	if s.ended {
		return
	}
	s.lines = append(s.lines, fmt.Sprintf("%9.4fs  %s", at.Seconds(), line))
	if len(s.lines) > 4*s.keep {
		s.lines = append(s.lines[:0], s.last()...)
	}
}

func (s *story) last() []string { return s.lines[max(0, len(s.lines)-s.keep):] }
