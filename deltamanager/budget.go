package deltamanager

import (
	"sync"
	"time"
)

// budget is what may be spent in a time: burst at once, then rate a second. Zero is one
// that nothing was spent of.
type budget struct {
	spent float64
	at    time.Duration
}

// left tells whether something may be spent.
func (b *budget) left(now time.Duration, rate, burst float64) bool {
	b.spent = max(0, b.spent-max(0, now-b.at).Seconds()*rate)
	b.at = now
	return b.spent < burst
}

// take spends n if something is left; a large n may overdraw, once.
func (b *budget) take(now time.Duration, n, rate, burst float64) bool {
	if !b.left(now, rate, burst) {
		return false
	}
	b.spent += n
	return true
}

// shares are budgets of many users: a user that has spent their share has nothing left, and
// others do. Two users whose hashes meet in a slot share one. Safe for concurrent use.
type shares struct {
	mu    sync.Mutex // a leaf
	slots [1024]budget
}

func (s *shares) take(now time.Duration, who uint64, n, rate, burst float64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slots[who%uint64(len(s.slots))].take(now, n, rate, burst)
}
