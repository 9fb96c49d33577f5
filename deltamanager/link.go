package deltamanager

import (
	"slices"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/progress"
	"github.com/nodeserver/nodeserver/deltamanager/internal/wire"
	"github.com/nodeserver/nodeserver/membership"
)

// link leads to what the core knows about one incarnation of one member. All of that is
// behind the link's lock.
type link struct {
	id membership.ID

	mu      sync.Mutex
	guarded locked
}

// locked is a link whose lock is held, by protocol: the stream of changes to the member and
// from it, the repair with it, and questions for single sessions. It is not used any more
// after unlock, but for its id.
type locked struct {
	*link
	up       bool          // payloads can be sent
	gone     bool          // no longer among the core's links
	seenAt   time.Duration // when it was connected or heard last
	requests uint64        // number of the last request made

	out       outbound
	in        inbound
	repair    repairing
	questions questions
}

// outbound is the stream of this node's changes to one member.
type outbound struct {
	progress.Out
	clean        time.Duration // when all changes were applied there
	unannounced  bool          // of uses since clean: it gets to know the sessions first
	strange      bool          // it was never heard of
	waiters      []*Waiter
	heartbeatDue bool
	ackDue       bool
	askAck       bool // a request waits for a change that was sent without asking for its acknowledgement
	heartbeatAt  time.Duration
}

// inbound is the stream of one member's changes to this node.
type inbound struct {
	progress.In
	unacked    int           // frames applied since an ack was sent
	ackBy      time.Duration // when an ack must go out at the latest; 0: none is owed
	lag        progress.Lag
	peer       wire.Heartbeat // its latest heartbeat
	heard      bool           // a heartbeat came since the link is up
	heardAt    time.Duration  // when the latest frame came
	rootDiffer bool           // roots differed when the latest heartbeat came
}

// repairing is what is done with one member to hold the same sessions.
type repairing struct {
	run      *repair // in progress; nil: none
	distrust bool    // heartbeats may be old, held back by a pause: only an answer counts
	behindAt time.Duration
	lookAt   time.Duration // last look at the roots
	futile   int           // repairs in a row that changed nothing here, since the roots were equal
	answers  []answer      // owed, made when pulled
	push     keyQueue      // sessions to send whole
	want     keyQueue      // sessions to ask for whole
}

// questions are those for single sessions, to one member and from it.
type questions struct {
	asks    []ask // not answered, the last ones of them not sent
	unasked int
	replies []wire.Ask // to answer on the live stream
	large   []wire.Ask // to answer on the bulk stream
	spent   [2]budget  // of bytes of answers, live and bulk
}

func newLink(now time.Duration, id membership.ID, epoch, seq, head uint64) *link {
	l := &link{id: id}
	l.guarded = locked{
		link: l, seenAt: now,
		out: outbound{Out: progress.NewOut(epoch, seq, head), clean: now},
		in:  inbound{In: progress.NewIn()},
	}
	return l
}

// lock locks the link.
func (l *link) lock() *locked {
	l.mu.Lock()
	return &l.guarded
}

// unlock gives up the link.
func (l *locked) unlock() { l.mu.Unlock() }

// connected goes back to the first change that was not acknowledged: it may
// have been lost with the old stream.
func (l *locked) connected(now time.Duration) {
	l.up, l.in.heard, l.seenAt = true, false, now
	l.out.Rewind()
	l.out.heartbeatDue, l.out.ackDue = true, true
	l.repair.behindAt = now
	l.repair.run, l.repair.futile = nil, 0
	l.repair.answers = nil
}

// skip leaves out all changes up to head: the member must repair.
func (l *locked) skip(epoch, head uint64) {
	l.out.Skip(epoch, head)
	l.loseWaiters()
}

// acknowledged takes note of what the member has applied, and tells the waiters.
func (l *locked) acknowledged(ack uint64) {
	if l.out.Acknowledge(ack) {
		l.tellWaiters()
	}
}

// loseWaiters tells the waiters for this member that it will not confirm.
func (l *locked) loseWaiters() {
	for _, w := range l.out.waiters {
		w.lose(l.gone)
	}
	l.out.waiters = nil
}

// tellWaiters tells the waiters whose change has been applied, and drops those that no longer
// wait.
func (l *locked) tellWaiters() {
	l.out.waiters = slices.DeleteFunc(l.out.waiters, func(w *Waiter) bool {
		if w.pos < l.out.Acked() {
			w.confirm(l.id)
		}
		return w.pos < l.out.Acked() || w.closed.Load()
	})
}

// ackDelay is how long an acknowledgement that no request waits for is kept back, so that it can
// ride on a frame of the other direction.
const ackDelay = 50 * time.Millisecond
