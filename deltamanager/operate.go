package deltamanager

import (
	"cmp"
	"container/heap"
	"context"
	"encoding/hex"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
)

// What operators see and do of sessions. All of it goes through the table bucket by bucket, and
// lets requests in between.

// Wanted says which sessions are meant; the zero value: all.
type Wanted = table.Wanted

// Query asks for a page of sessions.
type Query struct {
	Wanted
	Used   bool // by when they were used, not by when they were created
	Before Mark // only those after this one in the list; zero: from its begin
	Limit  int  // of sessions; > 0
}

// Mark is a place in a list of sessions, newest first.
type Mark struct {
	At  time.Time
	Key Key
}

// Brief is a session in a list.
type Brief struct {
	Key         Key
	Created     time.Time
	LastAccess  time.Time     // newest use that is known here
	MaxInactive time.Duration // 0: no limit
	Principal   string
	Attributes  int // that have a value
	Bytes       int // of names and values, removed attributes included
	Returned    bool
	Partial     bool // users don't see it yet: parts are still on their way
}

// Copy is what a node has of one session.
type Copy struct {
	Brief
	Registers []DumpRegister // attributes, by name, removed ones with a nil Value; not to be changed
	Sum       uint64         // equal sums: equal registers
	Stamp     Stamp          // the newest one
}

// ParseKey reads a session's key as Key.String writes it.
func ParseKey(text string) (k Key, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(k) {
		return k, fmt.Errorf("%.40q is no id of a session: it has %d hex digits, as sid in the log and Session.ID", text, 2*len(k))
	}
	return Key(b), nil
}

// place is where a session stands in a list.
type place struct {
	at time.Duration
	Brief
}

// before tells whether a stands before b in a list: newer, or of equal age with the lesser key.
func before(at time.Duration, k Key, b time.Duration, o Key) bool {
	return at > b || at == b && slices.Compare(k[:], o[:]) < 0
}

// ranked is a heap whose first one stands last in the list.
type ranked []place

func (h ranked) Len() int           { return len(h) }
func (h ranked) Less(i, j int) bool { return before(h[j].at, h[j].Key, h[i].at, h[i].Key) }
func (h ranked) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *ranked) Push(x any)        { *h = append(*h, x.(place)) }
func (h *ranked) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// Newest is a page of sessions, newest first, and how many are wanted at all. It looks at all
// sessions, some 100 ns each, and keeps no more than the page; one call after the other.
func (m *Manager) Newest(q Query) (page []Brief, total int) {
	m.looking.Lock()
	defer m.looking.Unlock()
	now := m.now()
	from := q.Before.At.Sub(m.Core.cfg.Wall)
	var h ranked
	for n := range table.Buckets {
		m.Core.table.Look(n, now, q.Wanted, func(s *table.Session) {
			at := s.Created
			if q.Used {
				at = s.Last
			}
			total++
			switch {
			case q.Before != Mark{} && !before(from, q.Before.Key, at, s.Key):
			case len(h) < q.Limit:
				heap.Push(&h, place{at, m.brief(s.Brief())})
			case before(at, s.Key, h[0].at, h[0].Key):
				h[0] = place{at, m.brief(s.Brief())}
				heap.Fix(&h, 0)
			}
		})
		runtime.Gosched()
	}
	slices.SortFunc(h, func(a, b place) int { return cmp.Or(cmp.Compare(b.at, a.at), slices.Compare(a.Key[:], b.Key[:])) })
	for _, p := range h {
		page = append(page, p.Brief)
	}
	return page, total
}

func (m *Manager) brief(b table.Brief) Brief {
	return Brief{
		Key: b.Key, Created: m.wall(b.Created), LastAccess: m.wall(b.LastAccess), MaxInactive: b.MaxInactive,
		Principal: b.Auth.Principal, Attributes: b.Attributes, Bytes: b.Bytes, Returned: b.Returned, Partial: b.Partial,
	}
}

// Copy is what is here of the session; false: nothing is.
func (m *Manager) Copy(k Key) (Copy, bool) {
	b, registers, sum, ok := m.Core.table.Copy(m.now(), k)
	if !ok {
		return Copy{}, false
	}
	c := Copy{Brief: m.brief(b), Sum: sum}
	for _, r := range registers {
		if c.Stamp.Less(r.Stamp) {
			c.Stamp = r.Stamp
		}
		if table.IsAttribute(r.Name) {
			c.Registers = append(c.Registers, r)
		}
	}
	return c, true
}

// Expire ends the sessions that are wanted, on every node, as their apps could, and waits for the
// other members as a logout does. It returns how many have ended, also with an error: that the node
// is not ready, or that too few members have confirmed it in time. One that begins meanwhile may
// stay.
func (m *Manager) Expire(ctx context.Context, w Wanted) (n int, err error) {
	var last Receipt
	now := m.now()
	for bucket := range table.Buckets {
		if k, err := ParseKey(w.Prefix); err == nil && k.Bucket() != bucket {
			continue // it can be in one only
		}
		var keys []Key
		m.Core.table.Look(bucket, now, w, func(s *table.Session) { keys = append(keys, s.Key) })
		for _, k := range keys {
			receipt, err := m.Core.end(m.now(), k)
			switch {
			case err == nil:
				last = receipt
				n++
			case !Gone(err):
				return n, err
			}
		}
		if err := ctx.Err(); err != nil {
			return n, err
		}
		runtime.Gosched()
	}
	_, err = m.await(ctx, last, m.Core.Wait(Async, false, true))
	return n, err
}

// end invalidates the session with that key, if it is here.
func (c *Core) end(now time.Duration, k Key) (Receipt, error) {
	if !c.Enter(now) {
		return Receipt{}, ErrNotReady
	}
	b := c.table.Lock(k)
	s := b.Session(k)
	b.Unlock()
	if s == nil {
		return Receipt{}, ErrGone
	}
	return c.Commit(now, Ref{c, s, c.fence.pauses.Load()}, Tx{Invalidate: true})
}
