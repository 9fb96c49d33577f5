package loadgen

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// FillConfig says what Fill does.
type FillConfig struct {
	Target
	N       int // sessions in all
	Bytes   int // in each
	Workers int
	Bulk    int // sessions that one request to /fill makes; 0: one /set each
}

// FillResult is what it took.
type FillResult struct {
	Sessions   int     `json:"sessions"`
	Errors     int     `json:"errors"`
	FirstError string  `json:"first_error,omitempty"`
	Seconds    float64 `json:"fill_s"`
	CPU        float64 `json:"cpu_us"` // of all servers per session, until they are idle
}

// Fill makes sessions, spread over the nodes.
func Fill(ctx context.Context, cfg FillConfig) (FillResult, error) {
	cfg.defaults()
	f := &fill{cfg: cfg}
	f.left.Store(int64(cfg.N))
	start := measure(cfg.PIDs)
	var all sync.WaitGroup
	for i := range cfg.Workers {
		all.Go(func() { f.work(ctx, i%len(cfg.Nodes)) })
	}
	all.Wait()
	took := time.Since(start.at)
	Idle(ctx, cfg.Target, 30*time.Second)
	used := measure(cfg.PIDs).servers - start.servers
	r := FillResult{Sessions: cfg.N, Errors: int(f.errors.Load()), Seconds: took.Seconds()}
	r.CPU = float64(used.Microseconds()) / float64(max(cfg.N, 1))
	if err, ok := f.first.Load().(error); ok {
		r.FirstError = err.Error()
	}
	return r, context.Cause(ctx)
}

type fill struct {
	cfg    FillConfig
	left   atomic.Int64
	errors atomic.Int64
	first  atomic.Value
}

func (f *fill) work(ctx context.Context, node int) {
	c := newClient(f.cfg.Target)
	defer c.close()
	step := int64(max(f.cfg.Bulk, 1))
	for ctx.Err() == nil {
		had := f.left.Add(-step) + step
		if had <= 0 {
			return
		}
		path := fmt.Sprintf("%s/set?n=%d", f.cfg.Base, f.cfg.Bytes)
		if f.cfg.Bulk > 0 {
			path = fmt.Sprintf("%s/fill?n=%d&bytes=%d", f.cfg.Base, min(step, had), f.cfg.Bytes)
		}
		if _, err := c.get(node, path, nil, true); err != nil {
			f.errors.Add(1)
			f.first.CompareAndSwap(nil, fmt.Errorf("fill at node %d: %w", node+1, err))
		}
	}
}

// JoinConfig says what Join does.
type JoinConfig struct {
	Target              // Nodes[0] is the node that joins
	Start  func() error // starts it, and returns at once
	Want   int          // sessions
	Limit  time.Duration
}

// JoinResult tells how long it took from the start.
type JoinResult struct {
	FirstAnswer   float64 `json:"first_answer_ms"`
	CountAtAnswer int     `json:"count_at_first_answer"`
	Complete      float64 `json:"complete_ms"` // 0: not within the limit
	Count         int     `json:"count"`
}

// Join starts a node and polls how many sessions it has.
func Join(ctx context.Context, cfg JoinConfig) (JoinResult, error) {
	cfg.defaults()
	c := newClient(cfg.Target)
	defer c.close()
	var r JoinResult
	start := time.Now()
	if err := cfg.Start(); err != nil {
		return r, err
	}
	for ; time.Since(start) < cfg.Limit && ctx.Err() == nil; pause(ctx, 2*time.Millisecond) {
		body, err := c.get(0, cfg.Base+"/count", nil, true)
		if err != nil {
			continue
		}
		reply, err := parse(body)
		if err != nil {
			return r, err
		}
		if r.Count = reply.n; r.FirstAnswer == 0 {
			r.FirstAnswer, r.CountAtAnswer = ms(time.Since(start)), r.Count
		}
		if r.Count >= cfg.Want {
			r.Complete = ms(time.Since(start))
			return r, nil
		}
	}
	return r, fmt.Errorf("the node holds %d of %d sessions after %v", r.Count, cfg.Want, cfg.Limit)
}

// Seen waits until sessions made at each node show at all others: the cluster is
// whole.
func Seen(ctx context.Context, t Target) error {
	t.defaults()
	c := newClient(t)
	defer c.close()
	for node := range t.Nodes {
		for {
			seen, err := seenFrom(ctx, c, t, node)
			if err != nil {
				return fmt.Errorf("write at node %d: %w", node+1, err)
			}
			if seen {
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("sessions of node %d do not show at all others: %w", node+1, context.Cause(ctx))
			}
		}
	}
	return nil
}

// seenFrom makes a session and waits for its copies, not for long: Tomcat never
// sends what was made before it knew the others.
func seenFrom(ctx context.Context, c *client, t Target, node int) (bool, error) {
	s := &session{size: -1}
	body, err := c.get(node, t.Base+"/inc", &s.jar, false)
	if err == nil {
		_, err = s.check("inc", body)
	}
	if err != nil {
		return false, err
	}
	for range 20 {
		if _, worst, _ := copiesOf(c, t, s); worst >= 1 {
			return true, nil
		}
		pause(ctx, 20*time.Millisecond)
	}
	return false, nil
}

// Count asks a node how many sessions it has.
func Count(t Target, node int) (int, error) {
	t.defaults()
	c := newClient(t)
	defer c.close()
	body, err := c.get(node, t.Base+"/count", nil, true)
	if err != nil {
		return 0, err
	}
	r, err := parse(body)
	return r.n, err
}

// Answers says whether the node answers to /raw.
func Answers(t Target, node int) error {
	t.defaults()
	c := newClient(t)
	defer c.close()
	body, err := c.get(node, t.Base+"/raw", nil, true)
	if err == nil {
		_, err = parse(body)
	}
	return err
}
