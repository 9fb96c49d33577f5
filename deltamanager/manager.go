package deltamanager

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// Manager is a Core with a clock: the shell that a node uses. It adds nothing
// to the model. Safe for concurrent use.
type Manager struct {
	Core  *Core     // the state machine
	start time.Time // about when it was made
	log   *slog.Logger
	locks locks

	looking sync.Mutex // held while all sessions are looked at: it costs a core
}

// New makes a manager for one webapp. It starts nothing; Run lets its time pass.
func New(cfg Config, group Group, log *slog.Logger) *Manager {
	// The clocks of all managers of a node have the same phase, so that their
	// heartbeats fall together: a wake-up costs more than what it sends.
	start := time.Now()
	early := sinceFull(start, max(cfg.Heartbeat, 1))
	if cfg.Wall.IsZero() {
		cfg.Wall = start
	}
	start, cfg.Wall = start.Add(-early), cfg.Wall.Add(-early)
	return &Manager{Core: NewCore(cfg, group), start: start, log: log}
}

// now is the time since the start, on the monotonic clock.
func (m *Manager) now() time.Duration { return max(time.Since(m.start), 1) }

// wall turns an instant of the monotonic clock into a time to show.
func (m *Manager) wall(d time.Duration) time.Time { return m.Core.cfg.Wall.Add(d) }

// tickEvery is the interval of Tick.
const tickEvery = 50 * time.Millisecond

// sinceFull is the time since the clock showed a multiple of d.
func sinceFull(now time.Time, d time.Duration) time.Duration {
	return time.Duration(now.UnixNano()) % d
}

// Stats is Core's.
func (m *Manager) Stats() Stats { return m.Core.Stats() }

// SetObserving is Core's.
func (m *Manager) SetObserving(on bool) { m.Core.SetObserving(on) }

// Flushed is Core's.
func (m *Manager) Flushed() bool { return m.Core.Flushed() }

// SetMaxSessions changes how many sessions there may be, 0: no limit. Those that are there stay.
func (m *Manager) SetMaxSessions(most int) { m.Core.table.SetMaxSessions(most) }

// Run lets time pass until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	// All managers of a node tick together.
	t := time.NewTimer(tickEvery - sinceFull(time.Now(), tickEvery))
	defer t.Stop()
	ready, pauses := false, int64(0)
	var repaired repairs
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.C:
			t.Reset(tickEvery - sinceFull(time.Now(), tickEvery))
		}
		m.Core.Tick(m.now())
		if p := int64(m.Core.fence.pauses.Load()); p != pauses {
			pauses = p
			m.log.Warn("this process had not run for over 2 s; repairing before serving", "event", "paused")
		}
		if n := repaired.ended(m.Core.stats.repair.repaired.Load(), m.now()); n > 0 {
			m.log.Info("repair has changed sessions here", "event", "repaired", "sessions", n)
		}
		if r := m.Ready(); r != ready {
			ready = r
			m.log.Debug("readiness changed", "ready", r, "sessions", m.Core.table.Sessions())
		}
	}
}

// repairs tells when repair has changed sessions and changes no more.
type repairs struct {
	total, told int64
	at          time.Duration // when total was reached
}

// ended is how many sessions were changed since it was last told, once a second has passed
// without a further one.
func (r *repairs) ended(total int64, now time.Duration) (n int64) {
	if total != r.total {
		r.total, r.at = total, now
	}
	if r.total == r.told || now-r.at < time.Second {
		return 0
	}
	n, r.told = r.total-r.told, r.total
	return n
}

// Connected is Core's, now, as are Disconnected, Gone, Pull and Receive.
func (m *Manager) Connected(id membership.ID) { m.Core.Connected(m.now(), id) }

// Disconnected is Core's, now.
func (m *Manager) Disconnected(id membership.ID) { m.Core.Disconnected(m.now(), id) }

// Gone is Core's, now.
func (m *Manager) Gone(id membership.ID) { m.Core.Gone(m.now(), id) }

// Settle is Core's; a node that is alone, or has all already, is ready then.
func (m *Manager) Settle() {
	m.Core.Settle()
	m.Core.checkReady(m.now())
}

// HandOver is Core's, now.
func (m *Manager) HandOver() { m.Core.HandOver(m.now()) }

// Pull is Core's, now.
func (m *Manager) Pull(to membership.ID, bulk bool) []byte { return m.Core.Pull(m.now(), to, bulk) }

// Receive is Core's, now; it logs what can't be read.
func (m *Manager) Receive(from membership.ID, bulk bool, payload []byte) {
	if err := m.Core.Receive(m.now(), from, bulk, payload); err != nil {
		m.log.Warn("payload refused", "member", from.Name, "bytes", len(payload), "err", err)
	}
}

// Open begins a request's view of the session with the cookie hash; false: unknown here.
func (m *Manager) Open(cookie CookieHash) (*View, bool) {
	r, info, ok := m.Core.Open(m.now(), cookie)
	if !ok {
		return nil, false
	}
	return &View{m: m, ref: r, info: info, acks: m.Core.cfg.Acks}, true
}

// Ready is Core's, now: it notices a pause before it answers, so that a caller
// that asks before each request never serves what is old.
func (m *Manager) Ready() bool { return m.Core.Enter(m.now()) }

// Knows tells whether Open would find the session, and does not use it.
func (m *Manager) Knows(cookie CookieHash) bool {
	_, ok := m.Core.Peek(m.now(), cookie)
	return ok
}

// OpenCaughtUp is Open for a user who has seen the writes that the tokens stand
// for: what is not here of them is asked for, and waited for: FreshnessWait, and as long
// again and again while the member that has it is heard from. View.Stale tells whether that was in
// vain. See CatchUp for what is asked when the cookie hash is unknown here; from is who the user is.
func (m *Manager) OpenCaughtUp(ctx context.Context, cookie CookieHash, tokens []Token, from Asker) (*View, bool) {
	stale := m.awaitCatchUp(ctx, m.Core.CatchUp(m.now(), cookie, tokens, from))
	v, ok := m.Open(cookie)
	if ok {
		v.stale, v.tokens = stale, tokens
	}
	return v, ok
}

func (m *Manager) awaitCatchUp(ctx context.Context, q *CatchUp) (stale bool) {
	if q == nil {
		return false
	}
	defer func() { stale = m.Core.Close(q) }()
	t := time.NewTimer(m.Core.cfg.FreshnessWait)
	defer t.Stop()
	for range catchUpRounds {
		select {
		case <-q.Done():
			return
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if !m.Core.WorthWaiting(m.now(), q) {
			return
		}
		t.Reset(m.Core.cfg.FreshnessWait)
	}
	return
}

// catchUpRounds is how many times FreshnessWait a member that is heard from,
// but slow, is waited for.
const catchUpRounds = 20

// Create begins a request's view of a session that does not exist yet. It is
// made by the first commit, with the cookie hash; until then nobody else can see it.
func (m *Manager) Create(cookie CookieHash) (*View, error) {
	if m.Core.table.Full() && m.Core.table.Unreturned() == 0 {
		return nil, fmt.Errorf("%w: %d, the limit (sessions.max_sessions)", ErrFull, m.Core.table.MaxSessions())
	}
	now := m.now()
	v := &View{m: m, create: true, acks: m.Core.cfg.Acks}
	v.info = Info{Created: now, LastAccess: now, MaxInactive: m.Core.cfg.Limits.MaxInactive, Auth: Auth{CookieHash: cookie}}
	if _, err := m.Core.cfg.Rand.Read(v.info.Key[:]); err != nil {
		return nil, fmt.Errorf("draw a session key: %w", err)
	}
	return v, nil
}

// locks are the sessions' locks for View.Lock, made when needed.
type locks struct {
	mu   sync.Mutex
	held map[Key]*lock
	free []*lock // to be used again: making one costs as much as a small commit
}

// maxFree bounds the locks that are kept.
const maxFree = 64

type lock struct {
	turn  chan struct{} // holds one token while the lock is free
	users int
}

// acquire waits for the session's lock until ctx ends.
func (l *locks) acquire(ctx context.Context, k Key) error {
	o := l.join(k)
	select {
	case <-o.turn:
		return nil
	default: // asking ctx first would make it a channel, for nothing most often
	}
	select {
	case <-o.turn:
		return nil
	case <-ctx.Done():
		l.leave(k, o)
		return context.Cause(ctx)
	}
}

// join makes the caller one of the lock's users.
func (l *locks) join(k Key) *lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.held[k]
	if o == nil {
		if n := len(l.free); n > 0 {
			o, l.free = l.free[n-1], l.free[:n-1]
		} else {
			o = &lock{turn: make(chan struct{}, 1)}
			o.turn <- struct{}{}
		}
		if l.held == nil {
			l.held = map[Key]*lock{}
		}
		l.held[k] = o
	}
	o.users++
	return o
}

func (l *locks) release(k Key) {
	l.mu.Lock()
	o := l.held[k]
	l.mu.Unlock()
	o.turn <- struct{}{}
	l.leave(k, o)
}

// leave ends the use of the lock; that of the last user is free then, with its token.
func (l *locks) leave(k Key, o *lock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o.users--; o.users == 0 {
		delete(l.held, k)
		if len(l.free) < maxFree {
			l.free = append(l.free, o)
		}
	}
}
