package progress

import (
	"time"
)

// Lag finds out how much longer than the fastest one a message of a member
// took: the ages in it are that much higher by now. The two clocks' offset
// cancels out (the idea of LEDBAT, RFC 6817).
//
// What is known outlives connections: the first message of a new one may well
// be one that was held back for long.
type Lag struct {
	known  bool
	offset int32         // smallest (our time − their sent_ms) seen
	at     time.Duration // up to when drift is in offset
}

// driftTime is in how long two clocks may drift apart by a millisecond (100 ppm).
const driftTime = 10 * time.Second

// Late is how much longer than usual a message took that was sent at their
// time, in milliseconds, and came at ours.
func (g *Lag) Late(now time.Duration, ours, theirs uint32) time.Duration {
	d := int32(ours - theirs)
	if drift := (now - g.at) / driftTime; drift > 0 {
		g.offset += int32(drift)
		g.at += drift * driftTime
	}
	if !g.known || d-g.offset < 0 {
		g.offset, g.known, g.at = d, true, now
	}
	return time.Duration(d-g.offset) * time.Millisecond
}
