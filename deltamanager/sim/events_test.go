package sim

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestEventsComeInOrder: by their instants, and those of one instant as planned.
func TestEventsComeInOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var q events
	var now event
	seq := uint64(0)
	for range 20_000 {
		if len(q) == 0 || r.IntN(100) < 51 {
			seq++
			q.push(event{at: now.at + time.Duration(r.IntN(20)), seq: seq})
			continue
		}
		next := q.pop()
		if next.before(&now) {
			t.Fatalf("event %d at %v comes after event %d at %v", next.seq, next.at, now.seq, now.at)
		}
		now = next
	}
	for len(q) > 0 {
		next := q.pop()
		if next.before(&now) {
			t.Fatalf("event %d at %v comes after event %d at %v", next.seq, next.at, now.seq, now.at)
		}
		now = next
	}
}
