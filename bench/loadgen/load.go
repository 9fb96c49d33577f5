package loadgen

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Target is what is driven.
type Target struct {
	Nodes   []string      // host:port of each
	Base    string        // path before /inc and the others; "" means /bench
	Timeout time.Duration // per request; 0 means 20 s
	PIDs    []int         // of all server processes, whose CPU is counted
	Idle    float64       // cores that they use when there is no load, as Cores says
}

func (t *Target) defaults() {
	if t.Base == "" {
		t.Base = "/bench"
	}
	if t.Timeout == 0 {
		t.Timeout = 20 * time.Second
	}
}

// LoadConfig says what Load does.
type LoadConfig struct {
	Target
	Op       string        // raw, inc, get or set
	Policy   string        // sticky: a worker has one node; random: each request another
	Bytes    int           // set: size of the blob; get: the same, 0 means none
	Workers  int           // that send at once
	Sessions int           // of each worker, used in turn; 0 means 1
	Rate     float64       // requests per second of all workers, each at its time; 0 means one after the other
	Warm     time.Duration // before counting starts
	Measure  time.Duration
	Patience time.Duration // how long copies that differ may take to agree
	Drain    time.Duration // how long to wait for the servers to be idle, at most; 0 means 15 s
	Apart    bool          // the nodes share nothing: there are no copies to compare
}

// LoadResult is what came out.
type LoadResult struct {
	Requests   int     `json:"requests"`
	All        int     `json:"all_requests"` // those of the warm-up too
	Errors     int     `json:"errors"`
	FirstError string  `json:"first_error,omitempty"`
	RPS        float64 `json:"rps"`
	Latency

	CPU       float64 `json:"cpu_us"`        // of all servers per request, until they are idle again
	CPUWindow float64 `json:"cpu_window_us"` // the same, until the last answer
	ClientCPU float64 `json:"client_cpu_us"` // of this process per request
	Cores     float64 `json:"server_cores"`  // that the servers used on average
	Other     float64 `json:"other_cores"`   // that neither they nor this process used: noise
	Drain     float64 `json:"drain_ms"`      // until the servers were idle
	Idle      float64 `json:"idle_cores"`    // that they use without any load

	Stale    int     `json:"stale"`
	StalePct float64 `json:"stale_pct"`
	Ahead    int     `json:"ahead"`
	Lost     int     `json:"lost_sessions"`
	Copies
}

// Phases of a load; only what begins while counting is counted.
const (
	warming int32 = iota
	counting
	done
)

// Load drives the target until the time is over, waits for it to fall idle, and
// compares the copies (inc only).
func Load(ctx context.Context, cfg LoadConfig) (LoadResult, error) {
	cfg.defaults()
	cfg.Sessions = max(cfg.Sessions, 1)
	if cfg.Drain == 0 {
		cfg.Drain = 15 * time.Second
	}
	workers, err := newWorkers(ctx, &cfg)
	if err != nil {
		return LoadResult{}, err
	}
	var phase atomic.Int32
	var all sync.WaitGroup
	for _, w := range workers {
		all.Go(func() { w.run(ctx, &phase) })
	}
	pause(ctx, cfg.Warm)
	start := measure(cfg.PIDs)
	phase.Store(counting)
	pause(ctx, cfg.Measure)
	phase.Store(done)
	all.Wait()
	answered := measure(cfg.PIDs)
	Idle(ctx, cfg.Target, cfg.Drain)
	r := total(workers)
	r.charge(start, answered, measure(cfg.PIDs), cfg.Idle)
	if cfg.Op == "inc" {
		r.Copies = compare(ctx, cfg.Target, cfg.Patience, sessionsOf(workers))
		if cfg.Apart {
			r.Diverged, r.Missing, r.Behind = 0, 0, 0
		}
	}
	return r, context.Cause(ctx)
}

// charge shares the CPU out among the requests. After the last answer only that
// counts which is more than the servers use without any load.
func (r *LoadResult) charge(start, answered, end usage, idle float64) {
	took := answered.at.Sub(start.at).Seconds()
	n := float64(max(r.Requests, 1))
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / n }
	r.RPS = float64(r.Requests) / took
	r.CPUWindow = us(answered.servers - start.servers)
	drain := end.at.Sub(answered.at)
	later := end.servers - answered.servers - time.Duration(idle*float64(drain))
	r.CPU = r.CPUWindow + us(max(0, later))
	r.Drain, r.Idle = ms(drain), idle
	r.ClientCPU = us(answered.own - start.own)
	r.Cores = (answered.servers - start.servers).Seconds() / took
	own := (answered.own - start.own) + (answered.servers - start.servers)
	r.Other = (answered.machine - start.machine - own).Seconds() / took
	r.StalePct = 100 * float64(r.Stale) / n
}

func total(workers []*worker) (r LoadResult) {
	var took []time.Duration
	for _, w := range workers {
		took = append(took, w.took...)
		r.All += w.all
		r.Errors += w.errors
		r.Stale += w.stale
		r.Ahead += w.ahead
		r.Lost += w.lost
		if w.first != nil && r.FirstError == "" {
			r.FirstError = w.first.Error()
		}
	}
	r.Requests = len(took)
	r.Latency = latencyOf(took)
	return r
}

func sessionsOf(workers []*worker) (all []*session) {
	for _, w := range workers {
		all = append(all, w.sessions...)
	}
	return all
}

// worker sends one request after the other.
type worker struct {
	cfg      *LoadConfig
	number   int
	client   *client
	sessions []*session
	chance   *rand.Rand
	path     string

	took                       []time.Duration // of good answers
	all                        int             // good answers, those of the warm-up too
	errors, stale, ahead, lost int
	first                      error
}

func newWorkers(ctx context.Context, cfg *LoadConfig) ([]*worker, error) {
	var all []*worker
	for i := range cfg.Workers {
		w := &worker{
			cfg: cfg, number: i, client: newClient(cfg.Target),
			chance: rand.New(rand.NewPCG(uint64(i), 7)),
			path:   cfg.Base + "/" + cfg.Op, took: make([]time.Duration, 0, 1<<16),
		}
		if cfg.Op == "set" {
			w.path = fmt.Sprintf("%s?n=%d", w.path, cfg.Bytes)
		}
		for range cfg.Sessions {
			w.sessions = append(w.sessions, &session{size: -1})
		}
		all = append(all, w)
	}
	if cfg.Op != "get" {
		return all, nil
	}
	for _, w := range all {
		if err := w.prepare(); err != nil {
			return nil, fmt.Errorf("prepare sessions to read: %w", err)
		}
	}
	Idle(ctx, cfg.Target, 5*time.Second)
	return all, nil
}

// prepare gives each session what get is to find.
func (w *worker) prepare() error {
	defer w.client.close()
	node := w.number % len(w.cfg.Nodes)
	for _, s := range w.sessions {
		body, err := w.client.get(node, w.cfg.Base+"/inc", &s.jar, false)
		if err == nil {
			_, err = s.check("inc", body)
		}
		if err == nil && w.cfg.Bytes > 0 {
			if body, err = w.client.get(node, fmt.Sprintf("%s/set?n=%d", w.cfg.Base, w.cfg.Bytes), &s.jar, false); err == nil {
				_, err = s.check("set", body)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// check parses the answer to op and compares it with what the session knows.
func (s *session) check(op string, body []byte) (verdict, error) {
	r, err := parse(body)
	if err != nil {
		return verdict{}, err
	}
	switch op {
	case "inc":
		return s.incremented(r), nil
	case "get":
		return s.read(r), nil
	case "set":
		return s.written(r), nil
	}
	return verdict{}, nil
}

func (w *worker) run(ctx context.Context, phase *atomic.Int32) {
	defer w.client.close()
	var every time.Duration
	if w.cfg.Rate > 0 {
		every = time.Duration(float64(time.Second) * float64(w.cfg.Workers) / w.cfg.Rate)
		pause(ctx, time.Duration(w.chance.Int64N(int64(every)+1)))
	}
	next := time.Now()
	due := next
	for i := 0; phase.Load() != done && ctx.Err() == nil; i++ {
		w.one(ctx, i, phase, due)
		if due = time.Now(); every == 0 {
			continue
		}
		if next = next.Add(every); next.Before(due) {
			due = next // it is late
			continue
		}
		pause(ctx, time.Until(next))
		due = time.Now()
	}
}

// one sends a request and counts what came of it, from when it was due: a user
// who had to wait with it since the one before took so long has waited, too.
func (w *worker) one(ctx context.Context, i int, phase *atomic.Int32, due time.Time) {
	s, node := w.sessions[i%len(w.sessions)], w.number%len(w.cfg.Nodes)
	if w.cfg.Policy == "random" {
		node = w.chance.IntN(len(w.cfg.Nodes))
	}
	count := phase.Load() == counting
	body, err := w.client.get(node, w.path, &s.jar, false)
	took := time.Since(due)
	var v verdict
	if err == nil {
		v, err = s.check(w.cfg.Op, body)
	}
	if count {
		w.count(took, v, err)
	}
	if err != nil {
		pause(ctx, time.Millisecond)
		return
	}
	w.all++
}

func (w *worker) count(took time.Duration, v verdict, err error) {
	if err != nil {
		w.errors++
		if w.first == nil {
			w.first = err
		}
		return
	}
	w.took = append(w.took, took)
	w.stale += number(v.stale)
	w.ahead += number(v.ahead)
	w.lost += number(v.lost)
}

func number(is bool) int {
	if is {
		return 1
	}
	return 0
}
