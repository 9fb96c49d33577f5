package session

import (
	"net/netip"
	"testing"
	"time"
)

func TestNewRateRefillsAndIsBounded(t *testing.T) {
	r, now := newNewRate(6), time.Now()
	addr := netip.MustParseAddr("192.0.2.1")
	take := func(want int) {
		t.Helper()
		got := 0
		for r.take(addr, now) == 0 {
			got++
		}
		if got != want {
			t.Errorf("%d taken, want %d", got, want)
		}
	}
	take(6)
	now = now.Add(10*time.Second + time.Millisecond)
	take(1)
	if wait := r.take(addr, now); wait <= 9*time.Second || wait > 10*time.Second {
		t.Errorf("wait %v", wait)
	}
	now = now.Add(61 * time.Second)
	take(6)
	next := netip.MustParseAddr("198.18.0.0")
	for range 10 * maxAddresses {
		r.take(next, now)
		next = next.Next()
	}
	if n := len(r.latest) + len(r.older); n > 2*maxAddresses {
		t.Errorf("%d addresses remembered", n)
	}
}
