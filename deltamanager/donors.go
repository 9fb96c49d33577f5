package deltamanager

import (
	"sync"

	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	"github.com/nodeserver/nodeserver/membership"
)

// assignment shares out the buckets among the donors of a joining node.
type assignment struct {
	mu   sync.Mutex
	by   map[int]membership.ID
	done table.Set
}

func (a *assignment) reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.by)
	a.done = table.Set{}
}

// take claims the bucket for a donor; false: another one has been asked for it.
func (a *assignment) take(n int, donor membership.ID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by == nil {
		a.by = map[int]membership.ID{}
	}
	if o, ok := a.by[n]; ok && o != donor {
		return false
	}
	a.by[n] = donor
	return true
}

// finish says that the bucket has arrived.
func (a *assignment) finish(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.by, n)
	a.done.Add(n)
}

func (a *assignment) finished() table.Set {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.done
}

// release gives back what a donor was asked for.
func (a *assignment) release(donor membership.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for n, o := range a.by {
		if o == donor {
			delete(a.by, n)
		}
	}
}
