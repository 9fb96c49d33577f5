package sim

import (
	"fmt"
	"strings"
	"time"
)

// Kind is something that happens in histories, and is counted.
type Kind int

// Kinds of what happens: faults and what clients do show that what a mix
// promises does occur, the rest that the core had to deal with it, and how often
// a check that needs special circumstances found them.
const (
	Payloads Kind = iota
	Lost
	Doubled
	Spikes
	LateLives // payloads that arrive when their connection has ended
	Splits
	OneWays
	Pairs
	Horizons
	Crashes
	Pauses
	Noticed
	Slows
	Drains
	Rolls
	LateJoins
	Skewed
	Backward

	Requests
	Commits
	Created
	Reads
	Parallel
	Renames
	Logouts
	Idles
	Bounces
	Forged
	GivenUp
	Attacks
	Unanswered
	Abandoned
	Refused
	Stale
	Missing

	Evictions
	Overflows
	Repairs
	Resends
	Asks

	JoinsChecked
	AcksChecked
	WholeChecked
	FlushesChecked
	ExpiringChecked
	StreamsChecked
	kinds
)

var kindNames = [kinds]string{
	Payloads:        "payloads",
	Lost:            "lost",
	Doubled:         "doubled",
	Spikes:          "spikes",
	LateLives:       "of ended connections",
	Splits:          "splits",
	OneWays:         "one way",
	Pairs:           "of pairs",
	Horizons:        "beyond the horizon",
	Crashes:         "crashes",
	Pauses:          "pauses",
	Noticed:         "over 2 s",
	Slows:           "slow",
	Drains:          "drains",
	Rolls:           "rolling restarts",
	LateJoins:       "late joins",
	Skewed:          "skewed clocks",
	Backward:        "set back",
	Requests:        "requests",
	Commits:         "commits",
	Created:         "sessions",
	Reads:           "reads",
	Parallel:        "parallel",
	Renames:         "id changes",
	Logouts:         "logouts",
	Idles:           "idle",
	Bounces:         "never back",
	Forged:          "forged ids",
	GivenUp:         "given-up ids",
	Attacks:         "attacks with them",
	Unanswered:      "unanswered",
	Abandoned:       "abandoned",
	Refused:         "refused",
	Stale:           "stale",
	Missing:         "missing",
	Evictions:       "evictions",
	Overflows:       "overflows",
	Repairs:         "repairs",
	Resends:         "resends",
	Asks:            "asks",
	JoinsChecked:    "donors of joiners",
	AcksChecked:     "acks",
	WholeChecked:    "wholes",
	FlushesChecked:  "writes at drains",
	ExpiringChecked: "expiring",
	StreamsChecked:  "streams alone",
}

// String is what reports call it.
func (k Kind) String() string { return kindNames[k] }

// Counts say what happened, to show that faults were not just promised.
type Counts struct {
	Simulated time.Duration
	Of        [kinds]int64 // by Kind
}

// Add adds b to c.
func (c *Counts) Add(b Counts) {
	c.Simulated += b.Simulated
	for i, n := range b.Of {
		c.Of[i] += n
	}
}

// String is the counts in lines: faults, clients, the core's work, checks.
func (c Counts) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%.1f h simulated", c.Simulated.Hours())
	for k := range kinds {
		switch k {
		case Requests, Overflows:
			s.WriteString("\n")
		case JoinsChecked:
			s.WriteString("\nchecked: ")
		default:
			s.WriteString(", ")
		}
		fmt.Fprintf(&s, "%d %v", c.Of[k], k)
	}
	return s.String()
}

// Never lists what has not happened.
func (c *Counts) Never() (never []Kind) {
	for k, n := range c.Of {
		if n == 0 {
			never = append(never, Kind(k))
		}
	}
	return never
}

func (o *observer) count(k Kind) { o.counts.Of[k]++ }
