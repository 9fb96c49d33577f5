package loadgen

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// FailoverConfig says what Failover does. With one node in Target it is a front
// door, which has to find another node by itself; with more, all workers use the
// first, and go on at the second when that fails after the kill.
type FailoverConfig struct {
	Target
	Workers  int
	Sessions int           // of each worker, used in turn
	Rate     float64       // requests per second of all workers at most; 0 means no limit
	Half     time.Duration // before the kill, and after it
	Victim   string        // name of the node that is killed
	Kill     func() error
}

// FailoverResult is what users saw of the failure.
type FailoverResult struct {
	Sessions       int     `json:"sessions"`
	Errors         int     `json:"errors"`
	FirstError     string  `json:"first_error,omitempty"`
	FirstGood      float64 `json:"first_good_ms"`  // kill to the first good answer of a session that the victim served
	AllGood        float64 `json:"all_good_ms"`    // kill until each worker had such an answer
	LongestGap     float64 `json:"longest_gap_ms"` // without any good answer, after the kill
	Slowest        float64 `json:"slowest_ms"`     // request that ended after the kill
	Lost           int     `json:"lost_sessions"`
	Stale          int     `json:"stale_sessions"`
	LostIncrements int     `json:"lost_increments"`
	Stuck          int     `json:"workers_stuck"` // that had no good answer elsewhere, though the victim had served them
	Before         float64 `json:"rps_before"`
	After          float64 `json:"rps_after"`
}

// Failover kills a node in the middle of a load of inc.
func Failover(ctx context.Context, cfg FailoverConfig) (FailoverResult, error) {
	if cfg.Kill == nil || cfg.Victim == "" {
		return FailoverResult{}, errors.New("failover needs a victim and a way to kill it")
	}
	cfg.defaults()
	f := &failover{cfg: cfg, start: time.Now()}
	var all sync.WaitGroup
	users := make([]*user, cfg.Workers)
	for i := range users {
		users[i] = newUser(f, i)
		all.Go(func() { users[i].run(ctx) })
	}
	pause(ctx, cfg.Half)
	f.killed.Store(int64(time.Since(f.start)))
	err := cfg.Kill()
	pause(ctx, cfg.Half)
	f.done.Store(true)
	all.Wait()
	return f.result(users), errors.Join(err, context.Cause(ctx))
}

// failover is what the users share.
type failover struct {
	cfg    FailoverConfig
	start  time.Time
	killed atomic.Int64 // since start; 0: not yet
	done   atomic.Bool
}

// user is one worker.
type user struct {
	*failover
	number   int
	client   *client
	node     int
	sessions []*session

	good                []time.Duration // when answers came, since start
	errors, lost, stale int
	first               error
	lostIncrements      int
	touched             bool          // the victim had served him when it died
	moved               time.Duration // kill to the first good answer elsewhere
	slowest             time.Duration
}

func newUser(f *failover, number int) *user {
	u := &user{failover: f, number: number, client: newClient(f.cfg.Target), good: make([]time.Duration, 0, 1<<14)}
	for range max(f.cfg.Sessions, 1) {
		u.sessions = append(u.sessions, &session{size: -1})
	}
	return u
}

func (u *user) run(ctx context.Context) {
	defer u.client.close()
	next := time.Now()
	for i := 0; !u.done.Load() && ctx.Err() == nil; i++ {
		u.until(ctx, u.sessions[i%len(u.sessions)])
		if u.cfg.Rate > 0 {
			next = next.Add(time.Duration(float64(time.Second) * float64(u.cfg.Workers) / u.cfg.Rate))
			pause(ctx, time.Until(next))
		}
	}
}

// until increments the session, trying again until there is an answer.
func (u *user) until(ctx context.Context, s *session) {
	for !u.done.Load() && ctx.Err() == nil {
		start := time.Now()
		body, err := u.client.get(u.node, u.cfg.Base+"/inc", &s.jar, false)
		var r reply
		if err == nil {
			r, err = parse(body)
		}
		if err == nil {
			u.answered(s, r, start)
			return
		}
		u.failed(ctx, err)
	}
}

func (u *user) failed(ctx context.Context, err error) {
	u.errors++
	if u.first == nil {
		u.first = err
	}
	if u.node == 0 && len(u.cfg.Nodes) > 1 && u.killed.Load() > 0 {
		u.node = 1
		return
	}
	pause(ctx, 2*time.Millisecond)
}

func (u *user) answered(s *session, r reply, start time.Time) {
	now, killed := time.Since(u.start), time.Duration(u.killed.Load())
	was := s.node
	v := s.incremented(r)
	u.good = append(u.good, now)
	u.lost += number(v.lost)
	u.stale += number(v.stale)
	u.lostIncrements += v.by
	if killed == 0 || now < killed {
		return
	}
	u.slowest = max(u.slowest, time.Since(start))
	if was == u.cfg.Victim && r.node != was {
		u.touched = true
		if u.moved == 0 && !v.lost && !v.stale {
			u.moved = now - killed
		}
	}
}

func (f *failover) result(users []*user) FailoverResult {
	r := FailoverResult{Sessions: len(users) * max(f.cfg.Sessions, 1)}
	var good, moved []time.Duration
	for _, u := range users {
		good = append(good, u.good...)
		r.Errors += u.errors
		r.Lost += u.lost
		r.Stale += u.stale
		r.LostIncrements += u.lostIncrements
		r.Slowest = max(r.Slowest, ms(u.slowest))
		r.Stuck += number(u.touched && u.moved == 0)
		if u.moved > 0 {
			moved = append(moved, u.moved)
		}
		if u.first != nil && r.FirstError == "" {
			r.FirstError = u.first.Error()
		}
	}
	if len(moved) > 0 {
		r.FirstGood, r.AllGood = ms(slices.Min(moved)), ms(slices.Max(moved))
	}
	r.gap(good, time.Duration(f.killed.Load()), f.cfg.Half)
	return r
}

// gap finds the longest time without a good answer after the kill.
func (r *FailoverResult) gap(good []time.Duration, killed, half time.Duration) {
	slices.Sort(good)
	last, before := killed, 0
	for _, at := range good {
		if at < killed {
			before++
			continue
		}
		r.LongestGap = max(r.LongestGap, ms(at-last))
		last = at
	}
	r.LongestGap = max(r.LongestGap, ms(killed+half-last))
	r.Before = float64(before) / half.Seconds()
	r.After = float64(len(good)-before) / half.Seconds()
}
