package loadgen

import (
	"slices"
	"time"
)

// Latency is how long something took, in ms.
type Latency struct {
	P50  float64 `json:"p50_ms"`
	P90  float64 `json:"p90_ms"`
	P99  float64 `json:"p99_ms"`
	P999 float64 `json:"p999_ms"`
	Max  float64 `json:"max_ms"`
}

// latencyOf sorts d.
func latencyOf(d []time.Duration) Latency {
	slices.Sort(d)
	return Latency{quantile(d, .5), quantile(d, .9), quantile(d, .99), quantile(d, .999), quantile(d, 1)}
}

// quantile of sorted durations, in ms; 0 if there are none.
func quantile(d []time.Duration, p float64) float64 {
	if len(d) == 0 {
		return 0
	}
	return ms(d[min(int(p*float64(len(d))), len(d)-1)])
}

// ms is the duration in ms, to the µs.
func ms(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}
