package deltamanager

import (
	"slices"
	"sync"
	"time"
)

// maxAges bounds what is remembered of when changes were made. With more, every second one is
// forgotten, and half as many are noted from then on.
const maxAges = 256

// ages remembers how far the log was at some moments, to tell for how long a change has been in it.
// Safe for concurrent use.
type ages struct {
	mu   sync.Mutex
	list []age         // by position and by time; each position once
	step time.Duration // between two, at least
}

// age says that all changes below pos were made by then.
type age struct {
	pos uint64
	at  time.Duration
}

// note takes note of the log's head. What all members have applied is forgotten.
func (a *ages) note(now time.Duration, head, applied uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for n < len(a.list) && a.list[n].pos <= applied {
		n++
	}
	a.list = slices.Delete(a.list, 0, n)
	if len(a.list) == 0 {
		a.step = 0
	} else if last := a.list[len(a.list)-1]; last.pos >= head || now-last.at < a.step {
		return
	}
	if head <= applied {
		return
	}
	a.list = append(a.list, age{head, now})
	if len(a.list) > maxAges {
		a.step = 2 * max(a.step, now-a.list[len(a.list)-2].at)
		kept := a.list[:0]
		for i, x := range a.list {
			if i%2 == 0 {
				kept = append(kept, x)
			}
		}
		a.list = kept
	}
}

// since is for how long at least the change at the position has been there, as far as is remembered;
// 0: for less than a tick.
func (a *ages) since(now time.Duration, pos uint64) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	i, _ := slices.BinarySearchFunc(a.list, pos, func(x age, pos uint64) int {
		if x.pos > pos {
			return 1
		}
		return -1
	})
	if i == len(a.list) {
		return 0
	}
	return max(0, now-a.list[i].at)
}
