package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/admin"
)

// BenchmarkSessionsList lists 1,000,000 sessions on three nodes: how long the first page takes, and
// what users notice of it.
func BenchmarkSessionsList(b *testing.B) {
	const sessions, chunk, fillers = 1_000_000, 10_000, 4
	c := loopback(b, "sessions.max_sessions=2000000", "sessions.first_inactive=0s", "replication.join_timeout=1s")
	c[0].start() // alone, it waits for nobody
	within(b, startLimit, "n1 up", func() error { return c[0].sees(c[0]) })
	var filling sync.WaitGroup
	turns := make(chan bool, fillers)
	for range sessions / chunk {
		turns <- true
		filling.Go(func() {
			defer func() { <-turns }()
			if _, err := new(user).get(c[0], fmt.Sprintf("fill?n=%d&bytes=64", chunk)); err != nil {
				b.Error(err)
			}
		})
	}
	filling.Wait()
	c[1].start()
	c[2].start()
	c.await(b, 5*time.Minute)
	within(b, 5*time.Minute, "sessions everywhere", func() error {
		return all(c, func(n *node) error { return holds(n, sessions) })
	})
	quiet := pings(b, c, nil)
	var pages []time.Duration
	busy := pings(b, c, func() {
		for _, query := range []string{"", "?principal=nobody", "?idle=1h", "?id=ab", "?order=used&limit=1000"} {
			begin := time.Now()
			_, body, err := c[0].ask("/api/v1/sessions" + query)
			took := time.Since(begin)
			var reply admin.SessionsReply
			if err := errors.Join(err, json.Unmarshal(body, &reply)); err != nil {
				b.Fatal(err)
			}
			b.Logf("%-24s %8v, %d of %d, %d bytes", strings.TrimPrefix(query, "?"),
				took.Round(time.Millisecond), len(reply.Sessions), reply.Total, len(body))
			pages = append(pages, took)
		}
	})
	b.Logf("users' requests beside it: p99 %v, slowest %v; before: p99 %v, slowest %v",
		at(busy, 99), at(busy, 100), at(quiet, 99), at(quiet, 100))
	b.ReportMetric(float64(pages[0].Milliseconds()), "ms/first-page")
	b.ReportMetric(float64(at(busy, 100).Microseconds())/1000, "ms/slowest-request")
}

// at is a percentile.
func at(sorted []time.Duration, percent int) time.Duration {
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)].Round(10 * time.Microsecond)
}

// pings are how long a user's requests to the first node take, one after the other, for 2 s or while
// something is done.
func pings(b *testing.B, c cluster, do func()) []time.Duration {
	b.Helper()
	stop, u := make(chan struct{}), new(user)
	var list []time.Duration
	var pinging sync.WaitGroup
	u.ok(b, c[0], "inc")
	pinging.Go(func() {
		pace := time.NewTicker(2 * time.Millisecond)
		defer pace.Stop()
		for {
			select {
			case <-stop:
				return
			case <-pace.C:
			}
			a, err := u.get(c[0], "inc")
			if err != nil {
				b.Error(err)
				return
			}
			list = append(list, a.took)
		}
	})
	if do == nil {
		<-time.After(2 * time.Second)
	} else {
		do()
	}
	close(stop)
	pinging.Wait()
	slices.Sort(list)
	return list
}
