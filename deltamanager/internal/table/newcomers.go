package table

import (
	"sync"
	"sync/atomic"
)

// newcomers are the sessions whose cookie has not come back yet, as those of robots
// and floods never do: at a limit the oldest of them ends, whichever node made it. All
// members may do so at once and agree nevertheless: what is said of an eviction is what
// is said of an expiry, and a member that has seen the cookie doesn't heed it.
type newcomers struct {
	count atomic.Int64 // of such sessions here; written under the bucket's lock

	mu   sync.Mutex // taken before a bucket's lock
	keys []Key      // in the order in which they came here; some have returned or ended since
}

// Arrive adds a session that has just been made or heard of. Not while a bucket is locked.
func (t *Table) Arrive(k Key) {
	if t.MaxSessions() == 0 && t.limits.MaxNewcomers == 0 {
		return // none is ever evicted
	}
	n := &t.newcomers
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.keys = append(n.keys, k); len(n.keys) <= 2*int(n.count.Load())+1024 {
		return
	}
	left := make([]Key, 0, n.count.Load()+1024)
	for _, k := range n.keys {
		if t.isNewcomer(k) {
			left = append(left, k)
		}
	}
	n.keys = left
}

func (t *Table) isNewcomer(k Key) bool {
	b := t.Lock(k)
	defer b.Unlock()
	s := b.Session(k)
	return s != nil && !s.Returned
}

// oldest takes out the key that has been here for longest.
func (n *newcomers) oldest() (Key, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.keys) == 0 {
		return Key{}, false
	}
	k := n.keys[0]
	if n.keys = n.keys[1:]; len(n.keys) == 0 {
		n.keys = nil
	}
	return k, true
}

// Evict removes the oldest newcomer, and returns it; nil: there is none.
func (t *Table) Evict() *Session {
	for {
		k, ok := t.newcomers.oldest()
		if !ok {
			return nil
		}
		if s := t.removeNewcomer(k); s != nil {
			return s
		}
	}
}

func (t *Table) removeNewcomer(k Key) *Session {
	b := t.Lock(k)
	defer b.Unlock()
	s := b.Session(k)
	if s == nil || s.Returned {
		return nil
	}
	b.Remove(s)
	return s
}

// SetMaxSessions changes how many sessions there may be; 0: no limit. Those that are there stay.
func (t *Table) SetMaxSessions(most int) { t.most.Store(int64(most)) }

// MaxSessions is how many sessions there may be; 0: no limit.
func (t *Table) MaxSessions() int { return int(t.most.Load()) }

// Full tells whether there are as many sessions as there may be.
func (t *Table) Full() bool {
	most := t.most.Load()
	return most > 0 && t.count.Load() >= most
}

// Awaited is how many keys are remembered in their order. For tests.
func (t *Table) Awaited() int {
	t.newcomers.mu.Lock()
	defer t.newcomers.mu.Unlock()
	return len(t.newcomers.keys)
}
