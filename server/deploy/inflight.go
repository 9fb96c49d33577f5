package deploy

import (
	"sync"
	"time"
)

// requests are those that an app serves now, in the order in which they began. The zero value
// has none. Safe for concurrent use.
type requests struct {
	mu          sync.Mutex
	first, last *request
	free        *request // to be used again, so that a request costs no memory; linked by next
}

// request is one of requests.
type request struct {
	began      time.Time
	prev, next *request
}

// begin adds a request; end takes it away.
func (l *requests) begin() *request {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.free
	if r == nil {
		r = &request{}
	} else {
		l.free = r.next
	}
	*r = request{began: time.Now(), prev: l.last}
	if l.last == nil {
		l.first = r
	} else {
		l.last.next = r
	}
	l.last = r
	return r
}

func (l *requests) end(r *request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.prev == nil {
		l.first = r.next
	} else {
		r.prev.next = r.next
	}
	if r.next == nil {
		l.last = r.prev
	} else {
		r.next.prev = r.prev
	}
	r.prev, r.next = nil, l.free
	l.free = r
}

// oldest is for how long the request that began first is served; 0: there is none.
func (l *requests) oldest() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == nil {
		return 0
	}
	return time.Since(l.first.began)
}
