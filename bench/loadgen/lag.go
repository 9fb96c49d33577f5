package loadgen

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// LagConfig says what Lag does: write at the first node, poll the second.
type LagConfig struct {
	Target
	Writes int
	Think  time.Duration // between a write that has shown and the next
	Limit  time.Duration // after which a write counts as never seen; 0 means 5 s
}

// LagResult tells how long after a write's answer another node showed it. A write
// that the first poll saw counts as 0, one that never showed as the limit; a poll
// takes some 0.1 ms, which is how fine the figure is.
type LagResult struct {
	Latency
	Writes   int     `json:"writes"`
	Never    int     `json:"never"`          // not seen within the limit
	AtOnce   float64 `json:"first_poll_pct"` // seen by the first poll
	WriteP50 float64 `json:"write_p50_ms"`
	WriteP99 float64 `json:"write_p99_ms"`
	PollP50  float64 `json:"poll_p50_ms"`
}

// Lag measures how far behind another node's copy is.
func Lag(ctx context.Context, cfg LagConfig) (LagResult, error) {
	if len(cfg.Nodes) < 2 {
		return LagResult{}, errors.New("lag needs two nodes")
	}
	cfg.defaults()
	if cfg.Limit == 0 {
		cfg.Limit = 5 * time.Second
	}
	l := &lag{cfg: cfg, client: newClient(cfg.Target)}
	defer l.client.close()
	for i := range cfg.Writes {
		if err := l.one(); err != nil {
			return l.result(), fmt.Errorf("write %d of %d: %w", i+1, cfg.Writes, err)
		}
		if pause(ctx, cfg.Think); ctx.Err() != nil {
			break
		}
	}
	return l.result(), context.Cause(ctx)
}

type lag struct {
	cfg                 LagConfig
	client              *client
	session             session
	lags, writes, polls []time.Duration
	atOnce, never       int
}

// one writes and polls until the write shows.
func (l *lag) one() error {
	start := time.Now()
	body, err := l.client.get(0, l.cfg.Base+"/inc", &l.session.jar, false)
	answered := time.Now()
	if err == nil {
		_, err = l.session.check("inc", body)
	}
	if err != nil {
		return err
	}
	l.writes = append(l.writes, answered.Sub(start))
	for first := true; ; first = false {
		asked := time.Now()
		shows, err := l.poll()
		switch {
		case err != nil:
			return err
		case shows && first:
			l.atOnce++
			l.lags = append(l.lags, 0)
			return nil
		case shows:
			l.lags = append(l.lags, asked.Sub(answered))
			return nil
		case time.Since(answered) > l.cfg.Limit:
			l.never++
			l.lags = append(l.lags, l.cfg.Limit)
			return nil
		}
	}
}

// poll asks the second node for its own copy.
func (l *lag) poll() (shows bool, err error) {
	start := time.Now()
	bare := l.session.jar.bare()
	body, err := l.client.get(1, l.cfg.Base+"/get", &bare, true)
	if err != nil {
		return false, err
	}
	r, err := parse(body)
	l.polls = append(l.polls, time.Since(start))
	return r.n >= l.session.count, err
}

func (l *lag) result() LagResult {
	write, poll := latencyOf(l.writes), latencyOf(l.polls)
	return LagResult{
		Latency: latencyOf(l.lags), Writes: len(l.writes), Never: l.never,
		AtOnce:   100 * float64(l.atOnce) / float64(max(len(l.writes), 1)),
		WriteP50: write.P50, WriteP99: write.P99, PollP50: poll.P50,
	}
}
