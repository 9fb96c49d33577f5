package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
)

// Mix is what a history is made of. Every seed draws its own, so that faults
// meet in ever new combinations instead of all at once (swarm testing).
type Mix struct {
	Nodes   int
	Clients int
	Load    time.Duration // how long clients and faults are at work

	Settings
	Habits
	Faults
}

// Settings are the configuration of the nodes.
type Settings struct {
	Queue         int
	MaxInactive   time.Duration
	FirstInactive time.Duration // 0: newcomers live like all others
	Newcomers     int           // newcomers' sessions that a node holds; 0: no limit
	Lifetime      time.Duration
	Heartbeat     time.Duration
	Repair        time.Duration
	Acks          deltamanager.Acks
	FreshnessWait time.Duration
}

// Habits are what clients do.
type Habits struct {
	Sticky   float64
	Parallel float64
	Logout   float64
	Rename   float64
	Attacks  float64 // how probably a login meets one more attack with the id of before
	Reads    float64
	Idle     float64
	Think    time.Duration // between an answer and the next request, at most
	Bounce   float64       // share of newcomers that never come back
}

// Faults are what goes wrong.
type Faults struct {
	Hostile      bool // connections lose, double and reorder payloads
	Loss, Double float64
	Spike        float64 // share of payloads that take up to 2 s more
	Delay        time.Duration
	Splits       bool
	OneWay       bool
	Partial      bool // single pairs are cut, not the cluster in two
	LongSplits   bool // longer than a session lives, or than is remembered that it ended
	Crashes      bool
	Pauses       bool
	Slow         bool
	Drains       bool
	LateJoins    bool
	Skew         time.Duration
}

// drawNewcomers draws what becomes of users who have not come back yet, from a source
// of its own: in seven of ten histories they are recognized among others.
func (m *Mix) drawNewcomers(r *rand.Rand) {
	if r.Float64() < 0.3 {
		return
	}
	m.FirstInactive = pick(r, 3*time.Second, 6*time.Second, m.MaxInactive/2, 2*m.MaxInactive)
	m.Bounce = r.Float64() * 0.6
	if !m.calm() { // an eviction may cross what tells that a cookie came back, which is then repaired
		m.Newcomers = pick(r, 0, 2, 6)
	}
}

// brief is for how long a session surely lives unused that nobody came back to; 0: it
// may be evicted at any time.
func (m Mix) brief() time.Duration {
	if m.Newcomers > 0 {
		return 0
	}
	return m.firstInactive()
}

// firstInactive is how long a session lives unused at most that nobody came back to.
func (m Mix) firstInactive() time.Duration {
	if m.FirstInactive == 0 {
		return m.MaxInactive
	}
	return min(m.FirstInactive, m.MaxInactive)
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func between(r *rand.Rand, lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + time.Duration(r.Int64N(int64(hi-lo)))
}

// drawMix draws a mix. One seed in ten has no faults at all: there, nothing may
// need repair. Half of those have none, and fast users, whose writes at one node
// overtake what another node has to say.
func drawMix(r *rand.Rand) Mix {
	flip := func(p float64) bool { return r.Float64() < p }
	// The order in which these are drawn makes the history of a seed.
	m := Mix{Nodes: 2 + r.IntN(6), Clients: 12}
	m.Delay = between(r, 500*time.Microsecond, 8*time.Millisecond)
	m.Sticky = pick(r, 0, 0.5, 0.9, 1, r.Float64())
	m.Parallel = pick(r, 0, 0.15, r.Float64()*0.5)
	m.Logout = r.Float64() * 0.05
	m.Rename = r.Float64() * 0.08
	m.Reads = pick(r, 0.1, 0.1, 0.3, 0.3, 0.8, 1)
	m.Idle = pick(r, 0, 0.01, 0.05)
	m.Queue = pick(r, 48, 48, 1024)
	m.MaxInactive = pick(r, 8*time.Second, 20*time.Second, time.Minute, time.Minute)
	m.Lifetime = pick(r, 15*time.Second, 10*time.Minute, 10*time.Minute)
	m.Heartbeat = pick(r, 250*time.Millisecond, 500*time.Millisecond)
	m.Repair = pick(r, time.Second, 3*time.Second, 8*time.Second)
	m.Acks = pick(r, deltamanager.Async, deltamanager.Async, deltamanager.One, deltamanager.Majority, deltamanager.All)
	m.Think, m.FreshnessWait = 300*time.Millisecond, 50*time.Millisecond
	m.Load = between(r, 12*time.Second, 28*time.Second)
	m.Attacks = pick(r, 0, 0.3, 0.6)
	if m.Reads == 1 { // sessions that only reads keep alive
		m.Parallel, m.MaxInactive = 0, 8*time.Second
	}
	if flip(0.1) {
		m.Queue = 1024
		if flip(0.5) {
			m.Repair, m.Delay, m.Think = never, between(r, 5*time.Millisecond, 15*time.Millisecond), 60*time.Millisecond
		}
		return m
	}
	m.Splits, m.OneWay, m.Partial, m.LongSplits = flip(0.6), flip(0.4), flip(0.4), flip(0.15)
	if m.LongSplits { // often long enough for tombstones to end before they heal
		m.Lifetime, m.Load = pick(r, 15*time.Second, m.Lifetime), max(m.Load, 22*time.Second)
	}
	m.Crashes, m.Pauses, m.Slow, m.Drains, m.LateJoins = flip(0.6), flip(0.5), flip(0.4), flip(0.3), flip(0.3)
	if flip(0.5) {
		m.Skew = between(r, 0, 600*time.Second)
	}
	if m.Hostile = flip(0.5); m.Hostile {
		m.Loss, m.Double, m.Spike = r.Float64()*0.3, r.Float64()*0.5, r.Float64()*0.1
		m.Delay = between(r, time.Millisecond, 20*time.Millisecond)
	}
	return m
}

// calm tells whether no fault can happen.
func (m Mix) calm() bool {
	return !m.Hostile && !m.Splits && !m.Partial && !m.Crashes && !m.Pauses && !m.Slow && !m.Drains && !m.LateJoins
}

// never is longer than any history.
const never = time.Hour

// round is how long two looks at what differs are apart.
func (m Mix) round() time.Duration {
	if m.Repair == never {
		return time.Second
	}
	return m.Repair
}

// horizon is how long an invalidation is remembered.
func (m Mix) horizon() time.Duration { return m.Lifetime + granule(m.Lifetime) }

func granule(d time.Duration) time.Duration { return min(max(d/16, time.Second), time.Minute) }

// granule is how exactly a session's use is known everywhere (DESIGN part 3).
func (m Mix) granule() time.Duration {
	return granule(m.MaxInactive)
}

// String is the mix in one line, for reports.
func (m Mix) String() string {
	var faults []string
	add := func(name string, on bool) {
		if on {
			faults = append(faults, name)
		}
	}
	add("splits", m.Splits)
	add("oneway", m.OneWay)
	add("partial", m.Partial)
	add("long", m.LongSplits)
	add("crashes", m.Crashes)
	add("pauses", m.Pauses)
	add("slow", m.Slow)
	add("drains", m.Drains)
	add("latejoins", m.LateJoins)
	if m.Hostile {
		add(fmt.Sprintf("loss=%.0f%% double=%.0f%% spike=%.0f%%", 100*m.Loss, 100*m.Double, 100*m.Spike), true)
	}
	add(fmt.Sprintf("first=%v newcomers=%d bounce=%.0f%%", m.FirstInactive, m.Newcomers, 100*m.Bounce), m.FirstInactive > 0)
	return fmt.Sprintf("%d nodes, acks %v, queue %d, inactive %v, lifetime %v, repair %v, sticky %.0f%%, parallel %.0f%%, skew %v; %s",
		m.Nodes, m.Acks, m.Queue, m.MaxInactive, m.Lifetime, m.Repair,
		100*m.Sticky, 100*m.Parallel, m.Skew.Round(time.Second), strings.Join(faults, " "))
}
