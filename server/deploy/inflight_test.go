package deploy

import (
	"testing"
	"testing/synctest"
	"time"
)

// Whichever request ends, the age is of the oldest that is left.
func TestOldestRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l requests
		want := func(d time.Duration) {
			t.Helper()
			if got := l.oldest(); got != d {
				t.Errorf("oldest: %v, want %v", got, d)
			}
		}
		want(0)
		a := l.begin()
		<-time.After(time.Second)
		b := l.begin()
		<-time.After(time.Second)
		c := l.begin()
		<-time.After(time.Second)
		want(3 * time.Second)
		l.end(b)
		want(3 * time.Second)
		l.end(a)
		want(time.Second)
		l.end(c)
		want(0)
		d := l.begin()
		want(0)
		<-time.After(time.Second)
		want(time.Second)
		l.end(d)
		want(0)
	})
}
