package deltamanager_test

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/membership"
)

// A request may have several goroutines: while one waits until its commit has
// been applied elsewhere, the others go on.
func TestViewIsFreeWhileItsCommitWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig(membership.ID{Name: "n1", Incarnation: 1})
		m := deltamanager.New(cfg, new(wakings), slog.New(slog.DiscardHandler))
		m.Connected(membership.ID{Name: "n2", Incarnation: 2}) // never answers
		v, err := m.Create(cookieHash(1))
		if err != nil {
			t.Fatal(err)
		}
		v.SetAcks(deltamanager.All)
		if err := v.Set("n", []byte("1")); err != nil {
			t.Fatal(err)
		}
		done := make(chan deltamanager.Result)
		begin := time.Now()
		go func() {
			r, _ := v.Commit(t.Context())
			done <- r
		}()
		synctest.Wait()
		if !v.TryLock() {
			t.Fatal("the view is locked while its commit waits")
		}
		if got, err := v.Get("n"); string(got) != "1" || err != nil {
			t.Errorf("n is %q, %v", got, err)
		}
		if err := v.Set("m", []byte("2")); err != nil || !v.Pending() {
			t.Errorf("a write meanwhile: %v", err)
		}
		if r := <-done; r.Applied != 0 || r.Need != 1 || time.Since(begin) != cfg.AckTimeout {
			t.Errorf("%+v after %v", r, time.Since(begin))
		}
		if !v.Pending() {
			t.Error("what was written meanwhile is lost")
		}
	})
}
