package deltamanager

import (
	"testing"
	"time"
)

func TestAges(t *testing.T) {
	var a ages
	want := func(now time.Duration, pos uint64, since time.Duration) {
		t.Helper()
		if got := a.since(now, pos); got != since {
			t.Errorf("at %v the change at %d is %v old, want %v", now, pos, got, since)
		}
	}
	want(time.Second, 0, 0)
	a.note(1*time.Second, 10, 0)
	a.note(2*time.Second, 10, 0) // nothing new
	a.note(3*time.Second, 20, 0)
	want(4*time.Second, 0, 3*time.Second)
	want(4*time.Second, 9, 3*time.Second)
	want(4*time.Second, 10, time.Second)
	want(4*time.Second, 20, 0)
	a.note(5*time.Second, 20, 20) // all have it
	want(5*time.Second, 20, 0)
	if len(a.list) != 0 {
		t.Errorf("%d moments are remembered for nobody", len(a.list))
	}
	// A member that takes nothing for long: the age of its first change stays known, in bounded room.
	begin := 10 * time.Second
	for n := range 100_000 {
		a.note(begin+time.Duration(n)*50*time.Millisecond, uint64(21+n), 20)
	}
	end := begin + 100_000*50*time.Millisecond
	want(end, 20, end-begin)
	if len(a.list) > maxAges {
		t.Errorf("%d moments are remembered", len(a.list))
	}
	if got, want := a.since(end, 50_000), end-begin-49_980*50*time.Millisecond; got < want*9/10 || got > want*11/10 {
		t.Errorf("in the middle: %v, want about %v", got, want)
	}
}
