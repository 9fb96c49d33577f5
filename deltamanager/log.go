package deltamanager

import (
	"sync/atomic"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
)

// change is one entry of the log: what a commit touched, by name. Values are
// read when a frame is built, so a value that changed again is sent as it is
// then, and memory doesn't grow with values.
type change struct {
	pos   uint64
	key   Key
	names []string      // registers written; none: the session was only used
	all   bool          // every register: the session is new
	over  table.Ending  // the session has ended
	back  bool          // with expired: its cookie had come back
	last  time.Duration // with expired: its last use
}

// written is a change of one register, as most are, in one piece.
type written struct {
	change
	name [1]string // room for names
}

// changeLog is a ring of the latest changes made at this node. All members'
// links read it, each at its own position: a commit costs one append however
// many members there are, and a slow or dead member costs nothing. A link that
// falls behind by more than the ring leaves changes out, says so (its epoch
// counts up), and repair carries them.
//
// Appends need no lock: a position is reserved, then the change is published in
// its slot. Readers stop at the first position not published yet.
type changeLog struct {
	head  atomic.Uint64 // next position
	slots []atomic.Pointer[change]
	ages  ages
}

func newChangeLog(entries int) *changeLog {
	return &changeLog{slots: make([]atomic.Pointer[change], entries)}
}

// reserve takes the next position. The caller must publish it soon. A stamp that
// is drawn after reserve has returned belongs to a change below any head that
// is read after that stamp was seen: this is what makes watermarks true.
func (l *changeLog) reserve() uint64 { return l.head.Add(1) - 1 }

// publish makes the change readable at its position.
func (l *changeLog) publish(c *change) { l.slots[c.pos%uint64(len(l.slots))].Store(c) }

// read returns the change at pos. It is nil while that is not published;
// overwritten tells that the ring has gone on since.
func (l *changeLog) read(pos uint64) (c *change, overwritten bool) {
	c = l.slots[pos%uint64(len(l.slots))].Load()
	switch {
	case c == nil || c.pos < pos:
		return nil, l.head.Load() > pos+uint64(len(l.slots))
	case c.pos > pos:
		return nil, true
	}
	return c, false
}
