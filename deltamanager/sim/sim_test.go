package sim

import "testing"

func BenchmarkHistory(b *testing.B) {
	seed := uint64(5000)
	for b.Loop() {
		seed++
		Run(seed, 50)
	}
}
