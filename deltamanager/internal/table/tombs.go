package table

import (
	queue "container/heap"
	"sync"
	"time"
)

// tomb is what is remembered of a session that was invalidated.
type tomb struct {
	until time.Duration
	rank  uint64 // that of the lowest rank is forgotten first; the same at all members
	next  *Key   // of the session that goes on in its place; nil: none
}

// somewhere stands for the key of a session that goes on in the place of another, where
// only that is known.
var somewhere = new(Key)

// BriefLife is how long a session lives that was made only to be ended, as those of a
// flood of logouts are.
const BriefLife = 2 * time.Minute

// lived marks the rank of a session that lived for longer than briefLife. Clocks leave
// the highest bit free.
const lived = 1 << 63

// rankOf is the rank of an invalidation at that clock: sessions that lived briefly before
// all others, then by when they ended. It is drawn once, where the session ends, and sent
// to the others: all members that have room for n tombstones keep the n highest of what
// any of them has, so what one has forgotten doesn't go to and fro between them.
func rankOf(clock uint64, age time.Duration) uint64 {
	if age > BriefLife {
		return clock | lived
	}
	return clock
}

// grave is a tombstone's place in the order in which they are forgotten.
type grave struct {
	rank uint64
	key  Key
}

// graves are the tombstones of all buckets, as a heap. Some have been forgotten since.
type graves struct {
	mu   sync.Mutex // a leaf
	heap graveHeap
}

type graveHeap []grave

func (h graveHeap) Len() int { return len(h) }
func (h graveHeap) Less(i, j int) bool {
	return h[i].rank < h[j].rank || h[i].rank == h[j].rank && compareKeys(h[i].key, h[j].key) < 0
}
func (h graveHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *graveHeap) Push(g any)   { *h = append(*h, g.(grave)) }
func (h *graveHeap) Pop() any {
	last := len(*h) - 1
	g := (*h)[last]
	*h = (*h)[:last]
	return g
}

func (g *graves) add(k Key, rank uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	queue.Push(&g.heap, grave{rank, k})
}

// lowest takes out the grave of the lowest rank.
func (g *graves) lowest() (grave, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.heap) == 0 {
		g.heap = nil
		return grave{}, false
	}
	return queue.Pop(&g.heap).(grave), true
}

// crowded tells whether most graves are of tombstones that are no more.
func (g *graves) crowded(tombs int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.heap) > 2*tombs+1024
}

// ForgetTombs forgets the tombstones that there is no room for. Called without a
// bucket's lock, and by one goroutine.
func (t *Table) ForgetTombs() {
	for t.buried.Load() > int64(t.limits.MaxTombs) {
		g, ok := t.graves.lowest()
		if !ok {
			return
		}
		if t.forgetGrave(g) {
			t.evicted.Add(1)
		}
	}
	if t.graves.crowded(int(t.buried.Load())) {
		t.tidyGraves()
	}
}

// forgetGrave reports whether there was such a tombstone still.
func (t *Table) forgetGrave(g grave) bool {
	b := t.Lock(g.key)
	defer b.Unlock()
	if b.tombs[g.key].rank != g.rank {
		return false
	}
	if _, dead := b.tombs[g.key]; !dead {
		return false
	}
	b.forget(g.key)
	return true
}

// tidyGraves leaves out what has been forgotten at its time.
func (t *Table) tidyGraves() {
	t.graves.mu.Lock()
	all := t.graves.heap
	t.graves.heap = nil
	t.graves.mu.Unlock()
	for _, g := range all {
		b := t.Lock(g.key)
		at, dead := b.tombs[g.key]
		b.Unlock()
		if dead && at.rank == g.rank {
			t.graves.add(g.key, g.rank)
		}
	}
}

// Invalidate buries the session for good at the clock of its end. It need not be here.
func (b Bucket) Invalidate(now time.Duration, k Key, clock uint64) {
	until, age := now+b.t.limits.tombLife(), time.Duration(0)
	s := b.Session(k)
	if s != nil {
		until, age = b.t.limits.remembered(now, s.Created), now-s.Created
	}
	b.bury(k, tomb{until: until, rank: rankOf(clock, age)})
}

// Replace buries a session in whose place another one goes on.
func (b Bucket) Replace(now time.Duration, s *Session, next Key, clock uint64) {
	b.bury(s.Key, tomb{b.t.limits.remembered(now, s.Created), rankOf(clock, now-s.Created), &next})
}
