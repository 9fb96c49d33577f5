package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A node is told to stop while it serves 300 users, in async mode: it ends what
// it has begun, hands over, and nobody loses anything.
func TestStopUnderLoad(t *testing.T) {
	c := started(t)
	var told time.Time
	code := -1
	list, y := crowd(c, 300, 3*time.Second, func(int) *node { return c[0] }, func() {
		told = c[0].signal(syscall.SIGTERM)
		code = c[0].exit(10 * time.Second)
		t.Logf("stopped %v after SIGTERM", time.Since(told))
	})
	if code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	y.good(t)
	whole(t, c.but(c[0]), list)
	if log := c[0].log.String(); !strings.HasSuffix(log, "msg=stopped node=n1 event=stopped\n") ||
		strings.Contains(log, "no other member has confirmed") {
		t.Error("its log does not end with an orderly stop")
	}
	for _, n := range c.but(c[0]) {
		if !strings.Contains(n.log.String(), "left: ") {
			t.Errorf("%s was not told that n1 left", n.name)
		}
	}
}

// The first SIGTERM waits for requests in flight, the second doesn't.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	c := started(t, "http.drain_notice=10s") // after it, the app hears of the stop and ends the request
	n := c[0]
	broken := make(chan error, 1)
	go func() {
		_, err := new(user).get(n, "slow?ms=60000")
		broken <- err
	}()
	within(t, 5*time.Second, "the slow request in flight", func() error { return n.took(1) })
	n.signal(syscall.SIGTERM)
	within(t, 5*time.Second, "stopping", func() error {
		if strings.Contains(n.log.String(), "msg=stopping") {
			return nil
		}
		return errEarly
	})
	select {
	case <-n.done:
		t.Fatal("ended with a request in flight")
	case <-time.After(1100 * time.Millisecond): // two within a second are one
	}
	second := n.signal(syscall.SIGTERM)
	if code := n.exit(5 * time.Second); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	t.Logf("ended %v after the second signal", time.Since(second))
	if said, want := n.log.said(), "nodeserver: terminated, the second signal: ended at once, in no order\n"; said != want {
		t.Errorf("said %q, want %q", said, want)
	}
	if err := <-broken; err == nil {
		t.Error("the request in flight was answered all the same")
	}
	t.Logf("the ended node gone on the others after %v", c.lose(t, second, n, 3*time.Second))
}

// took says if the node has not taken that many requests.
func (n *node) took(requests int) error {
	_, body, err := n.ask("/metrics")
	if want := fmt.Sprintf("\nnodeserver_http_requests_total %d\n", requests); err == nil && !strings.Contains(string(body), want) {
		err = errEarly
	}
	return err
}
