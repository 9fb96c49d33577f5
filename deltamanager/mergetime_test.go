//go:build !race

package deltamanager_test

import (
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
)

// With the race detector time says nothing. The best of many rounds does not depend on what else
// runs.
func TestMergeTakesLittleTime(t *testing.T) {
	const merges, limit = 1000, time.Microsecond
	c := twins(t, 1000).cores[0]
	s := c.Table().ByCookie(cookieHash(1))
	bucket, regs := c.Table().
		Lock(s.Key),
		[]table.Register{
			{ID: nameOf("blob"), Stamp: deltamanager.Stamp{Clock: 1 << 57, Incarnation: 7}, Value: []byte("x")},
		}
	defer bucket.Unlock()
	best := time.Hour
	for range 100 {
		begin := time.Now()
		for range merges {
			regs[0].Stamp.Clock++
			bucket.Merge(s, regs, nil)
		}
		best = min(best, time.Since(begin)/merges)
	}
	if best > limit {
		t.Errorf("merging one register takes %v", best)
	}
}
