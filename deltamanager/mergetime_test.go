//go:build !race

package deltamanager

import (
	"testing"
	"time"
)

// With the race detector time says nothing. The best of many rounds does not depend on what else runs.
func TestMergeTakesLittleTime(t *testing.T) {
	const merges, limit = 1000, time.Microsecond
	c := twins(t, 1000).cores[0]
	s := c.table.byTag(tagOf(1))
	bucket, regs := c.table.of(s.key), []register{{nameOf("blob"), Stamp{1 << 57, 7}, []byte("x")}}
	best := time.Hour
	for range 100 {
		begin := time.Now()
		for range merges {
			regs[0].stamp.Clock++
			c.table.merge(bucket, s, regs, 0, nil)
		}
		best = min(best, time.Since(begin)/merges)
	}
	if best > limit {
		t.Errorf("merging one register takes %v", best)
	}
}
