package session

import (
	"net/netip"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/channel/listen"
)

// newRate bounds the new sessions that one client address may begin: as many a minute as
// the limit says, and as many at once. A nil one has no limit. Safe for concurrent use.
//
// It forgets an address after one to two minutes, when its budget is whole again, or
// when it has seen many thousand others since.
type newRate struct {
	perMinute float64

	mu            sync.Mutex
	since         time.Time
	latest, older map[netip.Addr]budget
}

// budget is what an address has left.
type budget struct {
	left float64
	at   time.Time
}

// maxAddresses is how many addresses each half of a newRate remembers: 2 MiB.
const maxAddresses = 16 << 10

func newNewRate(perMinute int) *newRate {
	if perMinute <= 0 {
		return nil
	}
	return &newRate{perMinute: float64(perMinute)}
}

// allows tells whether this is the limit.
func (r *newRate) allows(perMinute int) bool {
	if r == nil {
		return perMinute <= 0
	}
	return r.perMinute == float64(perMinute)
}

// take takes one new session from the address's budget. Where there is none left, wait is after
// what time there will be.
func (r *newRate) take(addr netip.Addr, now time.Time) (wait time.Duration) {
	if r == nil || !addr.IsValid() || addr.IsLoopback() {
		return 0
	}
	addr = listen.Client(addr)
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.since) > time.Minute || len(r.latest) >= maxAddresses {
		r.since, r.older, r.latest = now, r.latest, map[netip.Addr]budget{}
	}
	b, ok := r.latest[addr]
	if !ok {
		if b, ok = r.older[addr]; !ok {
			b = budget{r.perMinute, now}
		}
	}
	b.left, b.at = min(b.left+now.Sub(b.at).Minutes()*r.perMinute, r.perMinute), now
	if b.left < 1 {
		wait = time.Duration((1 - b.left) / r.perMinute * float64(time.Minute))
	} else {
		b.left--
	}
	r.latest[addr] = b
	return wait
}
