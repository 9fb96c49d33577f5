package deltamanager

import (
	"sync"
	"time"
)

// touches is a pass over all sessions that tells again which ones were used
// since an instant. Digests do not tell uses apart, so repair does not cure
// those that a member has missed: it would take a session for unused too early.
type touches struct {
	mu    sync.Mutex // a leaf
	next  int        // bucket; Buckets: no pass is under way
	since time.Duration
}

// missed begins the pass again, for uses since the instant.
func (t *touches) missed(since time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next >= Buckets || since < t.since {
		t.since = since
	}
	t.next = 0
}

func (t *touches) over() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.next >= Buckets
}

func (t *touches) take() (n int, since time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, since = t.next, t.since
	t.next = min(n+1, Buckets)
	return n, since
}
