package progress_test

import (
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/progress"
)

func TestLatenessIsWhatExceedsTheFastest(t *testing.T) {
	var g progress.Lag
	for i, c := range []struct {
		now          time.Duration
		ours, theirs uint32
		want         time.Duration
	}{
		{time.Second, 5000, 1000, 0},                                      // first: the offset is taken to be 4000
		{time.Second, 5100, 1100, 0},                                      //
		{2 * time.Second, 9100, 2000, 3100 * time.Millisecond},            // held back for 3.1 s
		{2 * time.Second, 6990, 3000, 0},                                  // faster: 3990
		{3 * time.Second, 7000, 3000, 10 * time.Millisecond},              //
		{1003 * time.Second, 1007000, 1002900, 10 * time.Millisecond},     // 100 ppm of drift in 1000 s
		{1004 * time.Second, 3, 1<<32 - 4087, 0},                          // both counters wrap
		{1005 * time.Second, 1003, 1<<32 - 4087, 1000 * time.Millisecond}, //
	} {
		if got := g.Late(c.now, c.ours, c.theirs); got != c.want {
			t.Errorf("message %d is %v late, want %v", i, got, c.want)
		}
	}
}
