// Package hostile holds decoders against what anybody might send. For tests.
package hostile

import (
	"runtime"
	"testing"
)

// Survives runs a decoder on an input: it must not panic, nor allocate more than a
// fixed amount beside a few times the input.
func Survives(t *testing.T, input []byte, decode func()) {
	t.Helper()
	const per, fixed = 8, 64 << 10
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	decode()
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > uint64(per*len(input)+fixed) {
		t.Errorf("%d bytes of input took %d bytes of memory", len(input), got)
	}
}
