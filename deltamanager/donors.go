package deltamanager

import (
	"sync"

	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	"github.com/nodeserver/nodeserver/membership"
)

// deal shares out the buckets among the donors of a joining node.
type deal struct {
	mu   sync.Mutex
	by   map[int]membership.ID
	done table.Set
}

func (d *deal) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.by)
	d.done = table.Set{}
}

// take claims the bucket for a donor; false: another one has been asked for it.
func (d *deal) take(n int, donor membership.ID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.by == nil {
		d.by = map[int]membership.ID{}
	}
	if o, ok := d.by[n]; ok && o != donor {
		return false
	}
	d.by[n] = donor
	return true
}

// finish says that the bucket has arrived.
func (d *deal) finish(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.by, n)
	d.done.Add(n)
}

func (d *deal) finished() table.Set {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.done
}

// release gives back what a donor was asked for.
func (d *deal) release(donor membership.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for n, o := range d.by {
		if o == donor {
			delete(d.by, n)
		}
	}
}
