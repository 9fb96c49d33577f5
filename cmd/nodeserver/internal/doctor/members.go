package doctor

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/server/admin"
)

const (
	askTime = 2 * time.Second // for one member's answer
	maxSkew = 5 * time.Second // nodeserver needs no equal clocks, but who reads logs of two nodes does
)

// members says how the others are, as the running node and their own clocks tell.
func (r *report) members(ctx context.Context, reply admin.MembersReply) {
	rows := make([]Finding, len(reply.Members))
	var all sync.WaitGroup
	for i, m := range reply.Members {
		all.Go(func() { rows[i] = member(ctx, m) })
	}
	all.Wait()
	r.findings = append(r.findings, rows...)
}

func member(ctx context.Context, m admin.MemberRow) Finding {
	what := "member " + m.Name
	if m.State != "alive" {
		return Finding{Warn, what, "is " + m.State + ": does it run, and can this machine reach " + m.ChannelAddress + "?"}
	}
	skew, err := clockSkew(ctx, m.HTTPAddress)
	switch {
	case err != nil:
		return Finding{Warn, what, "is alive, but its HTTP address " + m.HTTPAddress + " does not answer this machine: " + err.Error()}
	case skew > maxSkew || skew < -maxSkew:
		return Finding{
			Warn,
			what,
			"its clock is " + skew.String() + " ahead of this machine's: sessions don't mind, logs will not line up; run an NTP client",
		}
	case !m.Ready:
		return Finding{Warn, what, "is alive and not ready: it still gets the sessions, or drains"}
	}
	return Finding{OK, what, "is alive and ready; the clocks agree to some seconds"}
}

// clockSkew is how far the server's clock is ahead of ours, to a second, by the
// Date of its answer (RFC 9110 section 6.6.1).
func clockSkew(ctx context.Context, address string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, "http://"+address+"/", http.NoBody)
	if err != nil {
		return 0, err
	}
	sent := time.Now()
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	_ = res.Body.Close() // has none
	date, err := http.ParseTime(res.Header.Get("Date"))
	if err != nil {
		return 0, err
	}
	middle := sent.Add(time.Since(sent) / 2)
	return date.Add(time.Second / 2).Sub(middle).Round(time.Second), nil
}
