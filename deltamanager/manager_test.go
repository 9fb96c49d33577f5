package deltamanager_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/membership"
)

// wakes counts wake-ups by their time within the bubble.
type wakes struct {
	mu    sync.Mutex
	begun time.Time
	count map[time.Duration]int
}

func (w *wakes) note() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count[time.Since(w.begun)]++
}

// wakingGroup is the group of one manager: it sends at once what is due.
type wakingGroup struct {
	*wakes
	manager *deltamanager.Manager
}

func (g *wakingGroup) Wake(to membership.ID, bulk, _ bool) {
	g.note()
	g.manager.Core.Pull(g.manager.Now(), to, bulk)
}

// The heartbeats of all webapps to all members fall together, whenever each of
// them was deployed or connected: an idle node wakes up 4 times a second to
// beat, not 4 times for each webapp and member.
func TestHeartbeatsFallTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &wakes{count: map[time.Duration]int{}, begun: time.Now()}
		var running sync.WaitGroup
		for i := range 3 {
			<-time.After(time.Duration(i) * 33 * time.Millisecond)
			own := &wakingGroup{wakes: w}
			cfg := testConfig(membership.ID{Name: "n1", Incarnation: 1})
			cfg.Wall = time.Time{}
			own.manager = deltamanager.New(cfg, own, slog.New(slog.DiscardHandler))
			own.manager.Settle()
			running.Go(func() { _ = own.manager.Run(ctx) })
			for j := range 5 {
				<-time.After(time.Duration(j) * 7 * time.Millisecond)
				own.manager.Core.Connected(own.manager.Now(), membership.ID{Name: "n2", Incarnation: uint64(2 + j)})
			}
		}
		<-time.After(10 * time.Second)
		cancel()
		running.Wait()
		for at := range w.count {
			if at < time.Second { // connecting
				delete(w.count, at)
			}
		}
		heartbeats := 0
		for _, n := range w.count {
			heartbeats += n
		}
		if heartbeats < 3*5*36 || len(w.count) > 38 {
			t.Errorf("%d heartbeats woke the node %d times in 9 s", heartbeats, len(w.count))
		}
	})
}
